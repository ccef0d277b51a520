// All work is done in a workspace: it holds the plugins, the folder of the runs, the flag that stops the work, and how
// progress is shown. Results may point into its plugins, so they must not outlive it.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/config/experiment.hpp"
#include "core/report/progress.hpp"

namespace sdpipe {

class Workspace {
 public:
  struct Options {
    std::vector<std::filesystem::path> plugin_files;  // loaded before those of the plugin folders
    std::filesystem::path runs = "runs";              // where run folders are made
    ProgressOptions progress = no_progress();
    std::vector<std::string> command_line = {};  // for a run's manifest.json
  };
  // Borrows `stop`. Long work looks at it after each step: where it is true, training saves its state and throws
  // Stopped; other work throws Stopped or Cancelled.
  Workspace(Options options, const std::atomic<bool>& stop) : options_(std::move(options)), stop_(stop) {}
  Workspace(Options options, const std::atomic<bool>&& stop) = delete;

  // The plugins of the search order; loaded once, warnings logged.
  const Registry& registry();
  // Loads and checks a pipeline file, decodes its images, and uses it, as below. Throws UsageError. Of a file with
  // variants, `load` returns what they vary.
  Experiment load_experiment(const std::filesystem::path& file, const std::vector<std::string>& overrides);
  Pipeline load(const std::filesystem::path& file, const std::vector<std::string>& overrides);
  // Sets the threads that this pipeline asks for.
  void use(const Pipeline& pipeline) const;
  // What its run.device means here. Throws UsageError at that key where there is no such GPU.
  at::Device device(const Pipeline& pipeline) const;
  // Before training, sampling or restoring: from now on this thread computes on the pipeline's device and with its
  // arithmetic. A program that was built for GPUs logs which. Throws as device(), and RunError where the GPU cannot be
  // used now.
  void begin_computing(const Pipeline& pipeline) const;

  const std::filesystem::path& runs() const { return options_.runs; }
  // runs/NAME
  std::filesystem::path run_folder(const Pipeline& pipeline) const { return runs() / pipeline.run.text("name"); }
  const ProgressOptions& progress() const { return options_.progress; }
  const std::vector<std::string>& command_line() const { return options_.command_line; }
  const std::atomic<bool>& stop() const { return stop_; }

 private:
  const Options options_;
  const std::atomic<bool>& stop_;
  std::unique_ptr<Registry> registry_;
};

// Logs warnings about a pipeline file (core/config/warnings.hpp); for the work that acts on it.
void warn_of(const std::vector<Problem>& warnings);

}  // namespace sdpipe
