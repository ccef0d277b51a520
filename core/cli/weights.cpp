#include <fmt/format.h>

#include "core/cli/signals.hpp"
#include "core/cli/verbs.hpp"

namespace sdpipe {

int weights_import(Workspace& workspace, const ImportArguments& arguments) {
  install_stop_handlers();
  const Experiment experiment = workspace.load_experiment(arguments.file, arguments.overrides);
  fmt::print("{}\n", import_weights(workspace, experiment, arguments.what).string());
  return 0;
}

int weights_export(Workspace& workspace, const WeightsExport& what) {
  export_weights(workspace, what);
  fmt::print("{}\n", what.output.string());
  return 0;
}

}  // namespace sdpipe
