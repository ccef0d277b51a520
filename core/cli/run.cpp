#include <fmt/format.h>

#include "core/cli/signals.hpp"
#include "core/cli/verbs.hpp"
#include "core/run/experiment_run.hpp"

namespace sdpipe {

int run(Workspace& workspace, const RunArguments& arguments) {
  install_stop_handlers();
  const Experiment experiment = workspace.load_experiment(arguments.file, arguments.overrides);
  const ExperimentRun done = run_experiment(workspace, experiment, arguments.fresh, arguments.force);
  if (done.ablation) print_ablation(*done.ablation);
  if (done.grid) fmt::print("{}\n", done.grid->string());
  fmt::print("{}\n", done.report.string());
  return 0;
}

}  // namespace sdpipe
