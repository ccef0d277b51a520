// A small training from the text of its pipeline: images in memory, everything else as in a run.
#pragma once

#include "core/training/loop.hpp"
#include "tests/diffusion/setup.hpp"
#include "tests/training/capture.hpp"

namespace sdpipe::testing {

inline const Registry& with_breaking() {
  static const Registry registry(PluginSearch{{SDPIPE_BREAKING}, {SDPIPE_BUILD_DIR "/plugins"}});
  return registry;
}

// 80 images in steps of 8, a checkpoint after every fourth step.
inline Pipeline training(const std::vector<std::string>& overrides = {}) {
  const std::string text = R"(
[run]
precision = "float64"
seed = 3
[data]
type = "idx"
path = "none"
workers = 0
[corruption]
type = "heat_blur"
std_max = 2.0
[schedule]
type = "linear"
[noise]
type = "geometric"
sigma_min = 0.05
sigma_max = 0.5
[model]
type = "breaking"
[train]
images = 80
batch = 8
learning_rate = 0.01
weight = "uniform"
checkpoint_every_images = 32
log_every = 3
[sampler]
type = "ddim"
[sample]
steps = 4
)";
  return parse_pipeline(text, "/pipelines/test.toml", overrides, with_breaking());
}

inline std::shared_ptr<const Source> images() { return std::make_shared<MemorySource>(noise({20, 1, 4, 4}, 9)); }

struct Outcome {
  FileContents checkpoint;  // the newest
  TrainingState state;
};

// Runs as far as it goes; `stop_at`: a signal arrives when so many images have been seen.
inline Outcome train(const Pipeline& pipeline, const std::filesystem::path& folder, int64_t stop_at = -1) {
  const RunFolder run(folder);
  const auto source = images();
  const Model model = make_model(pipeline, sample_shape(source->shape()));
  TrainingLoop loop(pipeline, source, model, run);
  std::atomic<bool> stop{false};
  const TrainedModel& trained = loop.run(stop, [&](const TrainingProgress& p) { stop = p.images == stop_at; });
  return {newest_checkpoint(run.checkpoints())->files, trained.state};
}

}  // namespace sdpipe::testing
