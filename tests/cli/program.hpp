// The real program, as a user's shell starts it, in a folder of its own with a small data set and a small pipeline.
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "core/base/files.hpp"
#include "tests/catch.h"
#include "tests/small_run.hpp"
#include "tests/temporary_folder.hpp"

namespace sdpipe::testing {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

struct Outcome {
  int code = -1;   // of its exit; -1 where a signal ended it
  int signal = 0;  // that ended it
  std::string out, err;
};

// A run of the program that may be interrupted. Destroyed while running, it is killed.
class Process {
 public:
  Process(const fs::path& folder, const Words& arguments, const Words& more_environment = {})
      : log_(folder / ".output") {
    fs::create_directories(log_);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
    for (const int fd : {1, 2}) {
      ::posix_spawn_file_actions_addopen(&actions, fd, name(fd).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    }
    Words words = {SDPIPE_PROGRAM}, environment = {"PATH=/usr/bin:/bin", "OMP_NUM_THREADS=1", "HOME=" + folder.string(),
                                                   "XDG_DATA_HOME=" + folder.string()};
    words.insert(words.end(), arguments.begin(), arguments.end());
    environment.insert(environment.end(), more_environment.begin(), more_environment.end());
    const int error =
        ::posix_spawn(&pid_, SDPIPE_PROGRAM, &actions, nullptr, pointers(words).data(), pointers(environment).data());
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0) throw std::runtime_error("the program cannot be started");
  }
  ~Process() {
    if (pid_ > 0) ::kill(pid_, SIGKILL), wait();
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void send(int signal) const { ::kill(pid_, signal); }
  bool ended() {
    if (pid_ > 0 && ::waitpid(pid_, &status_, WNOHANG) == pid_) pid_ = 0;
    return pid_ == 0;
  }
  Outcome wait() {
    if (pid_ > 0) ::waitpid(pid_, &status_, 0);
    pid_ = 0;
    return {WIFEXITED(status_) ? WEXITSTATUS(status_) : -1, WIFSIGNALED(status_) ? WTERMSIG(status_) : 0,
            read_file(name(1)), read_file(name(2))};
  }
  std::string err() const { return read_file(name(2)); }

 private:
  fs::path name(int fd) const { return log_ / (fd == 1 ? "out" : "err"); }
  static std::vector<char*> pointers(Words& words) {
    std::vector<char*> result;
    for (std::string& word : words) result.push_back(word.data());
    result.push_back(nullptr);
    return result;
  }
  fs::path log_;
  pid_t pid_ = 0;
  int status_ = 0;
};

// True once `condition` holds; false where `process` ended first.
template <class F>
bool wait_until(Process& process, F condition) {
  while (!condition()) {
    if (process.ended()) return condition();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

// A user's working folder with tiny.toml and its data.
class Workplace {
 public:
  Workplace() {
    write_pictures(*this / "data", 256, 8);
    write_file(*this / "tiny.toml", small_pipeline);
  }
  fs::path operator/(const std::string& name) const { return folder_ / name; }
  const fs::path& path() const { return folder_.path(); }
  Outcome sdpipe(const Words& arguments, const Words& more_environment = {}) const {
    return Process(path(), arguments, more_environment).wait();
  }

 private:
  TemporaryFolder folder_;
};

inline std::map<std::string, fs::file_time_type> times(const fs::path& folder) {
  std::map<std::string, fs::file_time_type> found;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_symlink()) found[fs::relative(entry.path(), folder).string()] = fs::last_write_time(entry.path());
  }
  return found;
}

}  // namespace sdpipe::testing
