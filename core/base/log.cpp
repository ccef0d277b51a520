#include "core/base/log.hpp"

#include <atomic>
#include <cstdio>
#include <mutex>
#include <stdexcept>
#include <utility>

namespace sdpipe {
namespace {
std::atomic<LogLevel> lowest{LogLevel::info};
std::atomic<void (*)()> before_message{nullptr};
std::mutex one_at_a_time;
std::function<void(LogLevel, const std::string&)> listener;  // behind the mutex
constexpr const char* prefix[] = {"debug: ", "", "warning: ", "error: "};
}  // namespace

void set_log_level(LogLevel level) { lowest = level; }
LogLevel log_level() { return lowest; }
void set_before_message(void (*hook)()) { before_message = hook; }

LogListener::LogListener(std::function<void(LogLevel, const std::string&)> hear) {
  const std::scoped_lock lock(one_at_a_time);
  if (listener) throw std::logic_error("somebody listens to the log already");
  listener = std::move(hear);
}

LogListener::~LogListener() {
  const std::scoped_lock lock(one_at_a_time);
  listener = nullptr;
}

void log(LogLevel level, const std::string& text) {
  const std::scoped_lock lock(one_at_a_time);
  if (listener) listener(level, text);
  if (level < lowest.load()) return;
  if (void (*hook)() = before_message.load()) hook();
  std::fprintf(stderr, "%s%s\n", prefix[static_cast<int>(level)], text.c_str());
  std::fflush(stderr);
}

}  // namespace sdpipe
