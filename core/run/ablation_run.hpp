// `sdpipe ablate`: the cells of an experiment drawn, scored and reported.
#pragma once

#include "core/evaluation/ablation.hpp"
#include "core/run/opened_data.hpp"
#include "core/run/workspace.hpp"

namespace sdpipe {

struct AblationRun {
  Ablation ablation;
  bool is_new;                                             // false: all of it was there already
  std::filesystem::path csv_file, json_file, report_file;  // under RUN/ablation/
};

// Throws PipelineErrors where a score would mean nothing of so few samples, unless `force`, or where the baseline is no
// row; warns where there are few. Writes nothing.
void require_comparable(const Experiment& experiment, bool force);

// Draws and scores the cells that are not done under `run`/ablation, and writes table and report there. Throws
// CheckpointError where a variant is not trained yet, DataError where it was trained on other data, Stopped between two
// cells.
AblationRun run_ablation(Workspace& workspace, const Experiment& experiment, const OpenedData& data,
                         const std::filesystem::path& run);

// The same for what is trained already: `place` is a run's folder or the pipeline file of one. Throws UsageError where
// there is nothing to compare, or where the overrides would make it another run.
AblationRun ablate_trained(Workspace& workspace, const std::filesystem::path& place,
                           const std::vector<std::string>& overrides, bool force);

}  // namespace sdpipe
