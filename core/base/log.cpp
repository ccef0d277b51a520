#include "core/base/log.hpp"

#include <atomic>
#include <cstdio>
#include <mutex>

namespace sdpipe {
namespace {
std::atomic<LogLevel> lowest{LogLevel::info};
std::atomic<void (*)()> before_message{nullptr};
std::mutex one_at_a_time;
constexpr const char* prefix[] = {"debug: ", "", "warning: ", "error: "};
}  // namespace

void set_log_level(LogLevel level) { lowest = level; }
LogLevel log_level() { return lowest; }
void set_before_message(void (*hook)()) { before_message = hook; }

void log(LogLevel level, const std::string& text) {
  if (level < lowest.load()) return;
  const std::scoped_lock lock(one_at_a_time);
  if (void (*hook)() = before_message.load()) hook();
  std::fprintf(stderr, "%s%s\n", prefix[static_cast<int>(level)], text.c_str());
  std::fflush(stderr);
}

}  // namespace sdpipe
