#include <fmt/format.h>

#include "core/base/log.hpp"
#include "core/base/text.hpp"
#include "core/cli/signals.hpp"
#include "core/cli/stages.hpp"
#include "core/cli/verbs.hpp"
#include "core/config/resolved.hpp"
#include "core/config/warnings.hpp"
#include "core/host/services.hpp"
#include "core/report/experiment_report.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view remedy =
    "give this one another name with run.name=..., or --fresh to move the old one aside";

void require_same_run(Session& session, const fs::path& folder, const Pipeline& pipeline, std::string_view remedy) {
  const fs::path resolved = folder / "resolved.toml";
  if (!fs::exists(resolved)) return;
  const Pipeline done = load_pipeline(resolved, {}, session.registry());
  const std::vector<std::string> differences = identity_differences(done, pipeline);
  if (differences.empty()) return;
  throw UsageError(fmt::format("{} holds another run: {} differ{}; {}", folder.string(), join(differences),
                               differences.size() == 1 ? "s" : "", remedy));
}

void run_variants(Session& session, const Experiment& experiment, const OpenedData& data, const RunFolder& folder) {
  update_file(folder.resolved_file(), to_toml(experiment));
  for (size_t i = 0; i < experiment.variants.size(); ++i) {
    const Variant& variant = experiment.variants[i];
    log_info(fmt::format("variant {} ({} of {})", variant.name, i + 1, experiment.variants.size()));
    run_pipeline(session, {variant.pipeline, {}, {}}, data, RunFolder(variant_folder(folder.path(), variant.name)));
  }
  update_file(folder.report_file(), render_experiment_report(experiment));
}

}  // namespace

fs::path variant_folder(const fs::path& run, const std::string& variant) {
  return variant.empty() ? run : run / "variants" / variant;
}

void require_same_kind(const fs::path& run, const Experiment& experiment, std::string_view remedy) {
  const bool has_variants = !experiment.variants.empty();
  if (!fs::exists(run / (has_variants ? "checkpoints" : "variants"))) return;
  throw UsageError(fmt::format(
      "{} holds {}; {}", run.string(),
      has_variants ? "a run without variants, but this pipeline has some" : "variants, but this pipeline has none",
      remedy));
}

void require_same_runs(Session& session, const fs::path& run, const Experiment& experiment, std::string_view remedy) {
  if (experiment.variants.empty()) require_same_run(session, run, experiment.base, remedy);
  // All of them before the first is trained: hours later would be late.
  for (const Variant& variant : experiment.variants)
    require_same_run(session, variant_folder(run, variant.name), variant.pipeline, remedy);
}

int run(Session& session, const RunArguments& arguments) {
  install_stop_handlers();
  const Experiment experiment = session.load_experiment(arguments.file, arguments.overrides);
  warn_of(warnings_of(experiment));
  require_comparable(experiment, arguments.force);  // before hours of training, not after
  const fs::path place = session.runs / experiment.base.run.text("name");
  if (arguments.fresh) {
    if (const fs::path aside = move_run_aside(place); !aside.empty())
      log_info(fmt::format("the old run is now {}", aside.string()));
  }
  const RunFolder folder(place);
  require_same_kind(place, experiment, remedy);
  require_same_runs(session, place, experiment, remedy);
  const OpenedData data = open_data(experiment.base);
  try {
    if (experiment.variants.empty())
      run_pipeline(session, experiment, data, folder);
    else
      run_variants(session, experiment, data, folder);
    if (!experiment.grids.empty()) run_ablation(session, experiment, data, place, false);
  } catch (const Cancelled&) {
    throw Stopped("stopped between two stages; run the same command again to go on");
  }
  if (experiment.variants.empty()) fmt::print("{}\n", (folder.samples() / "grid.png").string());
  fmt::print("{}\n", folder.report_file().string());
  return 0;
}

}  // namespace sdpipe
