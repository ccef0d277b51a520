// Whether the folders under runs/NAME hold what a pipeline file describes. The two checks throw UsageError with the
// remedy where they do not. A folder that does not exist yet passes.
#pragma once

#include "core/run/workspace.hpp"

namespace sdpipe {

// runs/NAME/variants/VARIANT; runs/NAME itself for the empty name.
std::filesystem::path variant_folder(const std::filesystem::path& run, const std::string& variant);

// A folder holds one pipeline's run or variants, never both.
void require_same_kind(const std::filesystem::path& run, const Experiment& experiment, std::string_view remedy);

// The message names the keys in which the experiment's pipelines are other ones than those whose folders are there.
void require_same_runs(Workspace& workspace, const std::filesystem::path& run, const Experiment& experiment,
                       std::string_view remedy);

}  // namespace sdpipe
