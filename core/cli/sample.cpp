#include <fmt/format.h>

#include "core/base/files.hpp"
#include "core/cli/signals.hpp"
#include "core/cli/verbs.hpp"
#include "core/config/warnings.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/evaluation/samples.hpp"

namespace sdpipe {

namespace fs = std::filesystem;

int sample(Session& session, const SampleArguments& arguments) {
  install_stop_handlers();
  const FoundRun found = find_run(session, arguments.run, arguments.overrides);
  const Pipeline& pipeline = found.pipeline;
  warn_of(warnings_of(pipeline));
  StoredCheckpoint checkpoint = checkpoint_of(found);
  const Model model = make_model(pipeline, stored_shape(checkpoint));
  const auto trained = load_trained(pipeline, std::move(checkpoint), model);
  const std::string id = pipeline.sampler.plugin->id();
  const fs::path output = arguments.output.empty()
                              ? found.folder / fmt::format("samples-{}-{}", id, pipeline.sample.integer("steps"))
                              : arguments.output;
  require_writable(output);  // before hours of sampling, not after
  const int64_t count = pipeline.sample.integer("count");
  Progress progress(fmt::format("sample {}", id), "images", 0, static_cast<uint64_t>(count), session.progress());
  const SampleRequest request{count, &stop_requested(),
                              [&](int64_t done) { progress.update(static_cast<uint64_t>(done)); }};
  SampleSet set;
  try {
    set = draw_samples(pipeline, model, *trained, pipeline.sampler, request);
  } catch (const Cancelled&) {
    throw Stopped("stopped before the samples were complete; nothing was written");
  }
  progress.finish();
  write_sample_files(output, set.images);
  fmt::print("{}\n", (output / "grid.png").string());
  return 0;
}

}  // namespace sdpipe
