// Whether the folders under runs/NAME hold what a pipeline file describes.
#pragma once

#include "core/run/workspace.hpp"

namespace sdpipe {

// runs/NAME/variants/VARIANT; runs/NAME itself for the empty name.
std::filesystem::path variant_folder(const std::filesystem::path& run, const std::string& variant);

// Throws UsageError with the remedy where `run` holds variants and the experiment has none, or the other way round, or
// where one of its pipelines is another than the one whose folder is there; then the message names the keys. A folder
// that does not exist yet passes.
void require_same_experiment(Workspace& workspace, const std::filesystem::path& run, const Experiment& experiment,
                             std::string_view remedy);

}  // namespace sdpipe
