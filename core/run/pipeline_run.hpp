// The run of one pipeline: training, samples, report.
#pragma once

#include "core/diffusion/prior.hpp"
#include "core/run/opened_data.hpp"
#include "core/run/workspace.hpp"
#include "core/training/run_folder.hpp"

namespace sdpipe {

// Trains, samples and reports, as far as that is not done; `single` has no variants, and its grids are left to
// run_ablation. Throws Stopped, or Cancelled between two stages.
void run_pipeline(Workspace& workspace, const Experiment& single, const OpenedData& data, const RunFolder& folder);

// Makes such a run with weights from elsewhere, which the model has been checked to have: at 0 images, to go on from.
void begin_pipeline(Workspace& workspace, const Experiment& single, const OpenedData& data, const RunFolder& folder,
                    const NamedTensors& weights);

}  // namespace sdpipe
