// `sdpipe weights import`: a run that begins with weights from elsewhere.
#pragma once

#include "core/run/workspace.hpp"

namespace sdpipe {

struct WeightsImport {
  std::filesystem::path source;  // a .safetensors file, a diffusers folder, a run or a checkpoint
  bool raw = false;              // of a run: the weights as trained instead of their average
  bool fresh = false;            // move an existing run aside
};

// Makes the run of the pipeline file, and of each of its variants, at 0 images, to go on from. It makes all of
// them or nothing. Returns the folder of the run. Throws UsageError where the weights are not the model's, Stopped or
// Cancelled.
std::filesystem::path import_weights(Workspace& workspace, const Experiment& experiment, const WeightsImport& what);

}  // namespace sdpipe
