// How far a long loop is, on stderr: on a terminal one line that is redrawn, elsewhere a plain line now and then.
//
//   train  12,800/64,000  20%  1,840 images/s  loss 0.0312  ETA 0:28  612 MiB
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace sdpipe {

enum class ColorChoice { automatic, always, never };

// What --color says; automatic: on a terminal that understands colours, unless NO_COLOR is set to anything. `no_color`
// and `term` are those environment variables, or null.
bool use_color(ColorChoice choice, bool terminal, const char* no_color, const char* term);

// Columns of the line: COLUMNS where it is a number of at least 20, else what the terminal says, else 80.
int line_width(const char* columns, int terminal_columns);

struct ProgressOptions {
  bool quiet = false;     // nothing at all
  bool terminal = false;  // redraw one line
  bool color = false;
  std::function<int()> width;                   // columns, asked at each redraw
  std::function<double()> seconds;              // a clock that never goes back
  std::function<uint64_t()> memory;             // resident bytes; 0: not known, not shown
  std::function<void(std::string_view)> write;  // must not log
};

// Shows nothing.
ProgressOptions no_progress();
// stderr, its terminal and this process as they are.
ProgressOptions progress_on_stderr(ColorChoice color, bool quiet);

// Any thread may log meanwhile: a message first clears the line that was drawn last. The functions of the options must
// not log.
class Progress {
 public:
  // `done` of `total` (0: not known) are behind us at the start, as after a resume: the rate counts from there.
  Progress(std::string label, std::string unit, uint64_t done, uint64_t total, ProgressOptions options);
  // Clears the line where the loop did not finish.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Cheap: draws at most ten times a second on a terminal, every 10 s elsewhere. `note` is free text: "loss 0.0312".
  void update(uint64_t done, const std::string& note = "");
  // The last line, which stays: what was done since the start, how long it took, the mean rate.
  void finish(const std::string& note = "");
  // Takes the line from the terminal until it is next redrawn.
  void clear();

 private:
  struct Sample {
    double seconds;
    uint64_t done;
  };
  struct Field;
  static void clear_standing();
  void erase();
  void draw(double now);
  void put(std::vector<Field> fields, bool stays);
  std::vector<Field> fields(double now) const;
  std::string painted(const std::vector<Field>& fields) const;
  void remember(double now);
  double rate(double now) const;

  const std::string label_, unit_;
  const uint64_t first_done_, total_;
  const ProgressOptions options_;
  uint64_t done_;
  std::string note_;
  double started_ = 0, drawn_ = 0;
  bool finished_ = false;
  std::deque<Sample> recent_;
};

}  // namespace sdpipe
