// Messages for the person at the terminal, on stderr; stdout is for results.
#pragma once

#include <functional>
#include <string>

namespace sdpipe {

enum class LogLevel { debug = 0, info = 1, warning = 2, error = 3 };

// Messages below `level` are dropped.
void set_log_level(LogLevel level);
LogLevel log_level();
// Called before a message is written: clears a progress line that stands on the terminal.
void set_before_message(void (*hook)());

// While it lives, `hear` is given every message, also those that are dropped; it must not log. One at a time.
class LogListener {
 public:
  explicit LogListener(std::function<void(LogLevel, const std::string&)> hear);
  ~LogListener();
  LogListener(const LogListener&) = delete;
  LogListener& operator=(const LogListener&) = delete;
};

void log(LogLevel level, const std::string& text);
inline void log_debug(const std::string& text) { log(LogLevel::debug, text); }
inline void log_info(const std::string& text) { log(LogLevel::info, text); }
inline void log_warning(const std::string& text) { log(LogLevel::warning, text); }

}  // namespace sdpipe
