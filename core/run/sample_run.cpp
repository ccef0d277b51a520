#include "core/run/sample_run.hpp"

#include <fmt/format.h>

#include "core/base/files.hpp"
#include "core/config/warnings.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/evaluation/samples.hpp"
#include "core/run/found_run.hpp"

namespace sdpipe {

namespace fs = std::filesystem;

fs::path sample_run(Workspace& workspace, const fs::path& run, const std::vector<std::string>& overrides,
                    const fs::path& output) {
  const FoundRun found = find_run(workspace, run, overrides);
  const Pipeline& pipeline = found.pipeline;
  warn_of(warnings_of(pipeline));
  workspace.begin_computing(pipeline);
  StoredCheckpoint checkpoint = checkpoint_of(found);
  const Model model = make_model(pipeline, stored_shape(checkpoint));
  const auto trained = load_trained(pipeline, std::move(checkpoint), model);
  const std::string id = pipeline.sampler.plugin->id();
  const fs::path folder =
      output.empty() ? found.folder / fmt::format("samples-{}-{}", id, pipeline.sample.integer("steps")) : output;
  require_writable(folder);  // before hours of sampling, not after
  const int64_t count = pipeline.sample.integer("count");
  Progress progress(fmt::format("sample {}", id), "images", 0, static_cast<uint64_t>(count), workspace.progress());
  const SampleRequest request{count, &workspace.stop(),
                              [&](int64_t done) { progress.update(static_cast<uint64_t>(done)); }};
  SampleSet set;
  try {
    set = draw_samples(pipeline, model, *trained, pipeline.sampler, request);
  } catch (const Cancelled&) {
    throw Stopped("stopped before the samples were complete; nothing was written");
  }
  progress.finish();
  write_sample_files(folder, set.images);
  return folder / "grid.png";
}

}  // namespace sdpipe
