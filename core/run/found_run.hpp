// An earlier run, as `sdpipe sample`, `restore` and `weights export` are given it.
#pragma once

#include <optional>

#include "core/run/workspace.hpp"
#include "core/training/checkpoint.hpp"

namespace sdpipe {

struct FoundRun {
  std::filesystem::path folder;                     // runs/NAME
  std::optional<std::filesystem::path> checkpoint;  // where one was named
  Pipeline pipeline;                                // the run's, with the overrides applied
};

// `path` is a run's folder or a checkpoint in it. Throws CheckpointError where it is neither, UsageError where an
// override would make it another run.
FoundRun find_run(Workspace& workspace, const std::filesystem::path& path, const std::vector<std::string>& overrides);

// The checkpoint that was named, or else the newest, to draw samples with.
StoredCheckpoint checkpoint_of(const FoundRun& found);

}  // namespace sdpipe
