#include "core/report/progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <utility>

#include "core/base/log.hpp"
#include "core/report/numbers.hpp"

namespace sdpipe {
namespace {

constexpr double redraw_seconds = 0.1, plain_seconds = 10, rate_seconds = 30;
constexpr const char* clear_line = "\r\x1B[K";

std::mutex drawing;            // guards every Progress and `standing`: a message may come from any thread
Progress* standing = nullptr;  // whose line stands on the terminal

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

int terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

// proc(5): the second number of statm is the resident set in pages.
uint64_t resident_bytes() {
  uint64_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

void write_stderr(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

bool is_dumb(const char* term) { return !term || !*term || std::strcmp(term, "dumb") == 0; }

std::string first_columns(const std::string& text, size_t columns) {
  size_t end = 0;
  while (end < text.size() && text_columns(std::string_view(text).substr(0, end + 1)) <= columns) ++end;
  return text.substr(0, end);
}

}  // namespace

// A piece of the line. Where the terminal is too narrow, the highest rank goes first; rank 0 stays.
struct Progress::Field {
  std::string text;
  int rank;
  const char* color;  // ECMA-48 SGR parameters, or null
};

bool use_color(ColorChoice choice, bool terminal, const char* no_color, const char* term) {
  if (choice != ColorChoice::automatic) return choice == ColorChoice::always;
  return terminal && !(no_color && *no_color) && !is_dumb(term);
}

int line_width(const char* columns, int terminal_columns) {
  int value = 0;
  if (columns) std::from_chars(columns, columns + std::strlen(columns), value);
  if (value >= 20) return value;
  return terminal_columns > 0 ? terminal_columns : 80;
}

ProgressOptions no_progress() { return progress_on_stderr(ColorChoice::never, true); }

ProgressOptions progress_on_stderr(ColorChoice color, bool quiet) {
  const char* term = std::getenv("TERM");
  ProgressOptions options;
  options.quiet = quiet;
  options.terminal = isatty(STDERR_FILENO) == 1 && !is_dumb(term);
  options.color = use_color(color, options.terminal, std::getenv("NO_COLOR"), term);
  options.width = [] { return line_width(std::getenv("COLUMNS"), terminal_columns()); };
  options.seconds = steady_seconds;
  options.memory = resident_bytes;
  options.write = write_stderr;
  return options;
}

Progress::Progress(std::string label, std::string unit, uint64_t done, uint64_t total, ProgressOptions options)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      first_done_(done),
      total_(total),
      options_(std::move(options)),
      done_(done) {
  const std::scoped_lock lock(drawing);
  set_before_message(clear_standing);
  started_ = options_.seconds();
  remember(started_);
  draw(started_);
}

Progress::~Progress() {
  const std::scoped_lock lock(drawing);
  erase();
}

void Progress::update(uint64_t done, const std::string& note) {
  const std::scoped_lock lock(drawing);
  done_ = done;
  note_ = note;
  const double now = options_.seconds();
  remember(now);
  if (now - drawn_ >= (options_.terminal ? redraw_seconds : plain_seconds)) draw(now);
}

void Progress::finish(const std::string& note) {
  const std::scoped_lock lock(drawing);
  if (std::exchange(finished_, true)) return;
  const double elapsed = options_.seconds() - started_;
  const uint64_t count = std::max(done_, first_done_) - first_done_;
  std::vector<Field> last = {
      {label_, 0, "1"}, {fmt::format("{} {} in {}", grouped(count), unit_, readable_duration(elapsed)), 0, nullptr}};
  if (elapsed > 0 && count > 0) {
    last.push_back({fmt::format("{} {}/s", readable_rate(static_cast<double>(count) / elapsed), unit_), 1, nullptr});
  }
  if (!note.empty()) last.push_back({note, 0, nullptr});
  put(std::move(last), true);
}

void Progress::clear() {
  const std::scoped_lock lock(drawing);
  erase();
}

void Progress::clear_standing() {
  const std::scoped_lock lock(drawing);
  if (standing) standing->erase();
}

// Counts as drawn, so that the message for which the line makes room is written before the line comes back.
void Progress::erase() {
  if (standing != this) return;
  standing = nullptr;
  options_.write(clear_line);
  drawn_ = options_.seconds();
}

void Progress::draw(double now) {
  drawn_ = now;
  put(fields(now), !options_.terminal);
}

std::vector<Progress::Field> Progress::fields(double now) const {
  std::vector<Field> out = {{label_, 0, "1"}};
  if (total_ > 0) {
    const double share = 100.0 * static_cast<double>(done_) / static_cast<double>(total_);
    out.push_back({fmt::format("{}/{}", grouped(done_), grouped(total_)), 2, nullptr});
    out.push_back({fmt::format("{}%", static_cast<int>(std::min(share, 100.0))), 0, "36"});
  } else {
    out.push_back({fmt::format("{} {}", grouped(done_), unit_), 0, nullptr});
  }
  const double per_second = rate(now);
  if (per_second > 0) out.push_back({fmt::format("{} {}/s", readable_rate(per_second), unit_), 3, nullptr});
  if (!note_.empty()) out.push_back({note_, 1, nullptr});
  if (per_second > 0 && total_ > done_) {
    const double left = static_cast<double>(total_ - done_) / per_second;
    out.push_back({fmt::format("ETA {}", readable_duration(left)), 0, "32"});
  }
  if (const uint64_t bytes = options_.memory(); bytes > 0) out.push_back({readable_memory(bytes), 4, "2"});
  return out;
}

std::string Progress::painted(const std::vector<Field>& fields) const {
  std::string out;
  for (const Field& field : fields) {
    if (!out.empty()) out += "  ";
    out += options_.color && field.color ? fmt::format("\x1B[{}m{}\x1B[0m", field.color, field.text) : field.text;
  }
  return out;
}

// On a terminal one column stays free: a full line would wrap, and could not be redrawn.
void Progress::put(std::vector<Field> fields, bool stays) {
  if (options_.quiet) return;
  if (!options_.terminal) return options_.write(painted(fields) + "\n");
  const auto columns = static_cast<size_t>(std::max(2, options_.width())) - 1;
  const auto width = [&] {
    size_t sum = 2 * (fields.size() - 1);
    for (const Field& field : fields) sum += text_columns(field.text);
    return sum;
  };
  while (width() > columns) {
    const auto least = std::max_element(fields.begin(), fields.end(), [](auto& a, auto& b) { return a.rank < b.rank; });
    if (least->rank == 0) break;
    fields.erase(least);
  }
  if (width() > columns) {
    std::string text = fields[0].text;
    for (size_t i = 1; i < fields.size(); ++i) text += "  " + fields[i].text;
    fields = {{first_columns(text, columns), 0, nullptr}};
  }
  options_.write(fmt::format("\r{}\x1B[K{}", painted(fields), stays ? "\n" : ""));
  standing = stays ? nullptr : this;
}

// Samples a second apart, of the last 30 s and one before: the rate follows a change of speed, and no single step moves
// the ETA much.
void Progress::remember(double now) {
  if (!recent_.empty() && now - recent_.back().seconds < 1) return;
  recent_.push_back({now, done_});
  while (recent_.size() > 2 && now - recent_[1].seconds >= rate_seconds) recent_.pop_front();
}

double Progress::rate(double now) const {
  const Sample& from = recent_.front();
  if (now <= from.seconds || done_ <= from.done) return 0;
  return static_cast<double>(done_ - from.done) / (now - from.seconds);
}

}  // namespace sdpipe
