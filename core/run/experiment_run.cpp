#include "core/run/experiment_run.hpp"

#include <fmt/format.h>

#include "core/base/log.hpp"
#include "core/config/resolved.hpp"
#include "core/config/warnings.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/host/services.hpp"
#include "core/report/experiment_report.hpp"
#include "core/run/identity.hpp"
#include "core/run/pipeline_run.hpp"

namespace sdpipe {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view remedy =
    "give this one another name with run.name=..., or --fresh to move the old one aside";

void require_images(const Experiment& experiment, const OpenedData& data) {
  if (experiment.variants.empty()) require_images_for_prior(experiment.base, data.source->size());
  for (const Variant& variant : experiment.variants) require_images_for_prior(variant.pipeline, data.source->size());
}

void run_variants(Workspace& workspace, const Experiment& experiment, const OpenedData& data, const RunFolder& folder) {
  update_file(folder.resolved_file(), to_toml(experiment));
  for (size_t i = 0; i < experiment.variants.size(); ++i) {
    const Variant& variant = experiment.variants[i];
    log_info(fmt::format("variant {} ({} of {})", variant.name, i + 1, experiment.variants.size()));
    run_pipeline(workspace, {variant.pipeline, {}, {}}, data, RunFolder(variant_folder(folder.path(), variant.name)));
  }
  update_file(folder.report_file(), render_experiment_report(experiment));
}

}  // namespace

ExperimentRun run_experiment(Workspace& workspace, const Experiment& experiment, bool fresh, bool force) {
  warn_of(warnings_of(experiment));
  require_comparable(experiment, force);  // before hours of training, not after
  const fs::path place = workspace.run_folder(experiment.base);
  if (!fresh) require_same_experiment(workspace, place, experiment, remedy);
  if (fs::exists(place)) const RunFolder not_in_use(place);  // said before all images are read
  const OpenedData data = open_data(experiment.base);
  require_images(experiment, data);  // before an old run is moved aside for one that cannot begin
  workspace.begin_computing(experiment.base);
  if (fresh) {
    if (const fs::path aside = move_run_aside(place); !aside.empty())
      log_info(fmt::format("the old run is now {}", aside.string()));
  }
  const RunFolder folder(place);
  // Another process may have begun or ended a run here meanwhile.
  require_same_experiment(workspace, place, experiment, remedy);
  ExperimentRun done{place, folder.report_file(), std::nullopt, std::nullopt};
  if (experiment.variants.empty()) done.grid = folder.samples() / "grid.png";
  try {
    if (experiment.variants.empty())
      run_pipeline(workspace, experiment, data, folder);
    else
      run_variants(workspace, experiment, data, folder);
    if (!experiment.grids.empty()) done.ablation = run_ablation(workspace, experiment, data, place);
  } catch (const Cancelled&) {
    throw Stopped("stopped between two stages; run the same command again to go on");
  }
  return done;
}

}  // namespace sdpipe
