// `sdpipe weights export`: a run's weights for other programs.
#pragma once

#include "core/run/workspace.hpp"

namespace sdpipe {

struct WeightsExport {
  std::filesystem::path run;           // a run's folder, or a checkpoint in it
  std::filesystem::path output;        // the file to write, or the folder for diffusers
  std::string format = "safetensors";  // or "diffusers"
  bool raw = false;                    // the weights as trained instead of their average
  bool force = false;                  // replace what is there
};

// Throws UsageError where the weights would mean nothing to another program, or the output exists already.
void export_weights(Workspace& workspace, const WeightsExport& what);

}  // namespace sdpipe
