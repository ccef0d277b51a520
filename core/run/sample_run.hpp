// `sdpipe sample`: samples of a trained run, as image files.
#pragma once

#include "core/run/workspace.hpp"

namespace sdpipe {

// `run` is a run's folder or a checkpoint in it. Draws with its [sampler] and [sample] into `output`, or the run's
// samples-SAMPLER-STEPS/ where it is empty, in place of samples that are there. Returns the file of the grid. Throws
// Stopped; then nothing was written.
std::filesystem::path sample_run(Workspace& workspace, const std::filesystem::path& run,
                                 const std::vector<std::string>& overrides, const std::filesystem::path& output);

}  // namespace sdpipe
