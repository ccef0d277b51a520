// What every verb shares: the options before and after it, the plugins found, the pipeline with its threads and device.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/config/experiment.hpp"
#include "core/report/progress.hpp"
#include "core/training/checkpoint.hpp"

namespace sdpipe {

struct Session {
  std::vector<std::filesystem::path> plugin_files;  // --plugin
  std::filesystem::path runs = "runs";              // --runs: where run folders are made
  bool quiet = false, verbose = false;
  ColorChoice color = ColorChoice::automatic;
  std::vector<std::string> command_line;

  // The plugins of the search order; loaded once, warnings logged.
  const Registry& registry();
  // Loads and checks a pipeline file, decodes its images, sets threads. Throws UsageError. Of a file with variants,
  // `load` returns what they vary.
  Experiment load_experiment(const std::filesystem::path& file, const std::vector<std::string>& overrides);
  Pipeline load(const std::filesystem::path& file, const std::vector<std::string>& overrides);
  // Sets the threads that this pipeline asks for.
  void use(const Pipeline& pipeline) const;
  ProgressOptions progress() const { return progress_on_stderr(color, quiet); }

 private:
  std::unique_ptr<Registry> registry_;
};

// Logs what a pipeline file had better not say (core/config/warnings.hpp); for the verbs that act on it.
void warn_of(const std::vector<Problem>& warnings);

// What `sdpipe run` and `sdpipe sample` find of an earlier run: its folder, and the pipeline it was made with.
struct FoundRun {
  std::filesystem::path folder;                     // runs/NAME
  std::optional<std::filesystem::path> checkpoint;  // where one was named
  Pipeline pipeline;
};
// `path` is a run's folder or a checkpoint in it. Throws CheckpointError where it is neither.
FoundRun find_run(Session& session, const std::filesystem::path& path, const std::vector<std::string>& overrides);
// The checkpoint that was named, or else the newest, to draw samples with.
StoredCheckpoint checkpoint_of(const FoundRun& found);

}  // namespace sdpipe
