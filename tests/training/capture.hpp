// What is written to stderr while something runs.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <string>

#include "core/base/files.hpp"
#include "tests/temporary_folder.hpp"

namespace sdpipe::testing {

class Capture {
 public:
  Capture() {
    std::fflush(stderr);
    saved_ = ::dup(2);
    if (!std::freopen((folder_ / "stderr").c_str(), "w", stderr)) throw std::runtime_error("stderr cannot be captured");
  }
  ~Capture() { restore(); }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  std::string text() {
    restore();
    return read_file(folder_ / "stderr");
  }

 private:
  void restore() {
    if (saved_ < 0) return;
    std::fflush(stderr);
    ::dup2(saved_, 2);
    ::close(saved_);
    saved_ = -1;
  }
  TemporaryFolder folder_;
  int saved_ = -1;
};

}  // namespace sdpipe::testing
