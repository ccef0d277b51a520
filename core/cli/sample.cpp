#include <fmt/format.h>

#include "core/cli/signals.hpp"
#include "core/cli/verbs.hpp"
#include "core/run/sample_run.hpp"

namespace sdpipe {

int sample(Workspace& workspace, const SampleArguments& arguments) {
  install_stop_handlers();
  fmt::print("{}\n", sample_run(workspace, arguments.run, arguments.overrides, arguments.output).string());
  return 0;
}

}  // namespace sdpipe
