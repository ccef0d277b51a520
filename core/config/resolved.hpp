// resolved.toml: a pipeline with every default filled in, and what makes two of them the same run.
#pragma once

#include <string>
#include <vector>

#include "core/config/experiment.hpp"

namespace sdpipe {

// A pipeline file that reads back to the same pipeline, in a stable order.
std::string to_toml(const Pipeline& pipeline);
// With what each variant changes, and what is compared.
std::string to_toml(const Experiment& experiment);
// The [model] table alone.
std::string model_toml(const PluginChoice& model);
// `{ type = "ddim", eta = 0.5 }`
std::string inline_toml(const PluginChoice& choice);

// The keys in which `next` is another run than `done` was, for example "train.batch" or "schedule.nodes"; a table that
// is there in one only, or of another type, by its name or "schedule.type". Not compared, because the weights do not
// depend on them: [sampler], [sample], run.threads, run.device, run.deterministic, run.synchronous, data.workers,
// train.checkpoint_every_images, train.keep_checkpoints, train.log_every, and train.accumulate, which changes the order
// of sums alone. A larger train.images under decay = "constant" is the same run going on.
std::vector<std::string> identity_differences(const Pipeline& done, const Pipeline& next);

}  // namespace sdpipe
