#include "core/base/log.hpp"

#include <unistd.h>

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "core/base/files.hpp"
#include "tests/catch.h"
#include "tests/temporary_folder.hpp"

using namespace sdpipe;

namespace {

// What `f` writes to stderr.
template <class F>
std::string stderr_of(F&& f) {
  const testing::TemporaryFolder folder;
  std::fflush(stderr);
  const int saved = ::dup(2);
  REQUIRE(std::freopen((folder / "stderr").c_str(), "w", stderr));
  f();
  std::fflush(stderr);
  ::dup2(saved, 2);
  ::close(saved);
  return read_file(folder / "stderr");
}

}  // namespace

TEST_CASE("messages go to stderr, begin with their level, and those below the chosen level are dropped") {
  const auto all = [] {
    log_debug("d");
    log_info("i");
    log_warning("w");
    log(LogLevel::error, "e");
  };
  CHECK(stderr_of(all) == "i\nwarning: w\nerror: e\n");
  set_log_level(LogLevel::debug);
  CHECK(log_level() == LogLevel::debug);
  CHECK(stderr_of(all) == "debug: d\ni\nwarning: w\nerror: e\n");
  set_log_level(LogLevel::error);
  CHECK(stderr_of(all) == "error: e\n");
  set_log_level(LogLevel::info);
}

TEST_CASE("a hook runs before each message that is shown") {
  const std::string seen = stderr_of([] {
    set_before_message([] { std::fputs("<clear>", stderr); });
    log_info("shown");
    log_debug("dropped");
    set_before_message(nullptr);
    log_info("plain");
  });
  CHECK(seen == "<clear>shown\nplain\n");
}

TEST_CASE("a listener hears what is shown and what is dropped, while it lives") {
  std::vector<std::pair<LogLevel, std::string>> heard;
  const std::string seen = stderr_of([&] {
    {
      const LogListener listener([&](LogLevel level, const std::string& text) { heard.emplace_back(level, text); });
      log_debug("dropped");
      log_warning("shown");
    }
    log_info("later");
  });
  CHECK(seen == "warning: shown\nlater\n");
  CHECK(heard ==
        std::vector<std::pair<LogLevel, std::string>>{{LogLevel::debug, "dropped"}, {LogLevel::warning, "shown"}});
}
