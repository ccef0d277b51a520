#include "core/run/identity.hpp"

#include <fmt/format.h>

#include "core/base/text.hpp"
#include "core/config/resolved.hpp"

namespace sdpipe {

namespace fs = std::filesystem;

namespace {

void require_same_run(Workspace& workspace, const fs::path& folder, const Pipeline& pipeline, std::string_view remedy) {
  const fs::path resolved = folder / "resolved.toml";
  if (!fs::exists(resolved)) return;
  const Pipeline done = load_pipeline(resolved, {}, workspace.registry());
  const std::vector<std::string> differences = identity_differences(done, pipeline);
  if (differences.empty()) return;
  throw UsageError(fmt::format("{} holds another run: {} differ{}; {}", folder.string(), join(differences),
                               differences.size() == 1 ? "s" : "", remedy));
}

// A folder holds one pipeline's run or variants, never both.
void require_same_kind(const fs::path& run, const Experiment& experiment, std::string_view remedy) {
  const bool has_variants = !experiment.variants.empty();
  if (!fs::exists(run / (has_variants ? "checkpoints" : "variants"))) return;
  throw UsageError(fmt::format(
      "{} holds {}; {}", run.string(),
      has_variants ? "a run without variants, but this pipeline has some" : "variants, but this pipeline has none",
      remedy));
}

}  // namespace

fs::path variant_folder(const fs::path& run, const std::string& variant) {
  return variant.empty() ? run : run / "variants" / variant;
}

void require_same_experiment(Workspace& workspace, const fs::path& run, const Experiment& experiment,
                             std::string_view remedy) {
  require_same_kind(run, experiment, remedy);
  if (experiment.variants.empty()) require_same_run(workspace, run, experiment.base, remedy);
  // All of them before the first is trained: hours later would be late.
  for (const Variant& variant : experiment.variants)
    require_same_run(workspace, variant_folder(run, variant.name), variant.pipeline, remedy);
}

}  // namespace sdpipe
