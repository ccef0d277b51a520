// `sdpipe run`: a pipeline file from data to report, with its variants and their comparison.
#pragma once

#include "core/run/ablation_run.hpp"

namespace sdpipe {

struct ExperimentRun {
  std::filesystem::path folder;               // runs/NAME
  std::filesystem::path report;               // report.html
  std::optional<std::filesystem::path> grid;  // of the samples; variants have theirs in their own folders
  std::optional<AblationRun> ablation;        // where the file has [[ablate]]
};

// Does what is not done yet. `fresh` moves an existing run aside; `force` compares by scores of too few samples too.
// Throws UsageError where another run has the name, Stopped after the state was saved.
ExperimentRun run_experiment(Workspace& workspace, const Experiment& experiment, bool fresh, bool force);

}  // namespace sdpipe
