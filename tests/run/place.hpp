// What the library of the engine is tested with: a workspace in a folder of its own, with a small pipeline and its
// data.
#pragma once

#include <set>

#include "core/base/log.hpp"
#include "core/run/workspace.hpp"
#include "tests/small_run.hpp"
#include "tests/temporary_folder.hpp"

namespace sdpipe::testing {

inline const std::set<std::string> all_samplers = {"naive", "momentum", "ancestral", "ddim",     "multistep",
                                                   "heun",  "euler",    "churn",     "langevin", "ancestral_multistep"};

// A program's folder with tiny.toml, its data and a flag to stop its work.
struct Place {
  explicit Place(std::set<std::string> compared = {"ancestral", "ddim"}) : samplers(std::move(compared)) {
    set_log_level(LogLevel::error);
    write_pictures(folder / "data", 64, 8);
    write_file(folder / "tiny.toml", small_pipeline);
  }
  ~Place() { set_log_level(LogLevel::info); }

  fs::path operator/(const std::string& name) const { return folder / name; }

  // tiny.toml with less training than it says.
  Experiment load(std::vector<std::string> overrides = {}) {
    overrides.insert(overrides.begin(), {"train.images=128", "train.checkpoint_every_images=64"});
    return load_as_it_is(overrides);
  }
  Experiment load_as_it_is(std::vector<std::string> overrides) {
    overrides.insert(overrides.begin(), "data.path=" + (folder / "data").string());
    return workspace.load_experiment(folder / "tiny.toml", overrides);
  }

  // What a progress line begins with sets the flag, once.
  void stop_at(const std::string& label) { stopped_by_ = label; }

  const std::set<std::string> samplers;
  TemporaryFolder folder;
  std::atomic<bool> stop{false};
  Workspace workspace{
      {.plugin_files = plugins(samplers), .runs = folder / "runs", .progress = heard(), .command_line = {"a program"}},
      stop};

 private:
  ProgressOptions heard() {
    ProgressOptions options = no_progress();
    options.quiet = false;
    options.write = [this](std::string_view line) {
      if (!stopped_by_.empty() && line.find(stopped_by_) != line.npos) stopped_by_.clear(), stop = true;
    };
    return options;
  }

  // All but the samplers, of which a report compares every one that there is.
  static std::vector<fs::path> plugins(const std::set<std::string>& samplers) {
    std::set<std::string> left_out = all_samplers;
    for (const std::string& id : samplers) left_out.erase(id);
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(SDPIPE_BUILD_DIR "/plugins")) {
      const std::string name = entry.path().filename().string();
      if (name.ends_with(".sdp.so") && !left_out.contains(name.substr(0, name.find('.'))))
        files.push_back(entry.path());
    }
    return files;
  }

  std::string stopped_by_;
};

}  // namespace sdpipe::testing
