// Errors that end a command, each with the exit code that the command line promises.
#pragma once

#include <stdexcept>
#include <string>

namespace sdpipe {

enum class Exit : int {
  ok = 0,
  run_failed = 1,
  usage = 2,  // command line or pipeline file
  plugin = 3,
  data = 4,
  checkpoint = 5,
  stopped = 75,  // stopped by a signal after saving; run again to resume
};

// What went wrong, in words for the person who reads them: what, where, why, what to do.
class Error : public std::runtime_error {
 public:
  Error(Exit code, const std::string& text) : std::runtime_error(text), code_(code) {}
  Exit code() const { return code_; }

 private:
  Exit code_;
};

struct UsageError : Error {
  explicit UsageError(const std::string& text) : Error(Exit::usage, text) {}
};
struct PluginError : Error {
  explicit PluginError(const std::string& text) : Error(Exit::plugin, text) {}
};
struct DataError : Error {
  explicit DataError(const std::string& text) : Error(Exit::data, text) {}
};
struct CheckpointError : Error {
  explicit CheckpointError(const std::string& text) : Error(Exit::checkpoint, text) {}
};
struct RunError : Error {
  explicit RunError(const std::string& text) : Error(Exit::run_failed, text) {}
};
struct Stopped : Error {
  explicit Stopped(const std::string& text) : Error(Exit::stopped, text) {}
};

}  // namespace sdpipe
