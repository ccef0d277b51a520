#include "core/report/progress.hpp"

#include <memory>
#include <vector>

#include "core/base/log.hpp"
#include "tests/catch.h"

using namespace sdpipe;
using Lines = std::vector<std::string>;

namespace {

// A terminal, a clock and a process that do as told.
struct Bench {
  double now = 100;
  int columns = 100;
  uint64_t memory = 0;
  Lines written;

  ProgressOptions options(bool terminal, bool color = false) {
    ProgressOptions out;
    out.terminal = terminal;
    out.color = color;
    out.width = [this] { return columns; };
    out.seconds = [this] { return now; };
    out.memory = [this] { return memory; };
    out.write = [this](std::string_view text) { written.emplace_back(text); };
    return out;
  }
};

std::string redrawn(const std::string& line) { return "\r" + line + "\x1B[K"; }
const std::string cleared = "\r\x1B[K";

}  // namespace

TEST_CASE("elsewhere than on a terminal there is a first line, one every ten seconds, and a last") {
  Bench bench;
  bench.memory = uint64_t{612} << 20;
  {
    Progress progress("train", "images", 0, 64000, bench.options(false));
    for (int second = 1; second <= 25; ++second) {
      bench.now = 100 + second;
      progress.update(static_cast<uint64_t>(second) * 1600, "loss 0.0312");
    }
    progress.finish("loss 0.0298");
  }
  CHECK(bench.written == Lines{
                             "train  0/64,000  0%  612 MiB\n",
                             "train  16,000/64,000  25%  1,600 images/s  loss 0.0312  ETA 0:30  612 MiB\n",
                             "train  32,000/64,000  50%  1,600 images/s  loss 0.0312  ETA 0:20  612 MiB\n",
                             "train  40,000 images in 0:25  1,600 images/s  loss 0.0298\n",
                         });
}

TEST_CASE("on a terminal the line is redrawn at most ten times a second, and the last one stays") {
  Bench bench;
  Progress progress("sample", "images", 0, 64, bench.options(true));
  bench.now += 0.05;
  progress.update(1);
  bench.now += 0.45;
  progress.update(8, "step 3/24");
  bench.now += 0.05;
  progress.update(9, "step 4/24");
  bench.now += 3.45;
  progress.update(64);
  progress.finish();
  CHECK(bench.written == Lines{
                             redrawn("sample  0/64  0%"),
                             redrawn("sample  8/64  12%  16.0 images/s  step 3/24  ETA 0:04"),
                             redrawn("sample  64/64  100%  16.0 images/s"),
                             redrawn("sample  64 images in 0:04  16.0 images/s") + "\n",
                         });
}

TEST_CASE("after a resume the rate counts from where it began") {
  Bench bench;
  Progress progress("train", "images", 50000, 64000, bench.options(false));
  bench.now += 10;
  progress.update(51000);
  progress.finish();
  CHECK(bench.written == Lines{
                             "train  50,000/64,000  78%\n",
                             "train  51,000/64,000  79%  100 images/s  ETA 2:10\n",
                             "train  1,000 images in 0:10  100 images/s\n",
                         });
}

TEST_CASE("the rate is that of the last thirty seconds") {
  Bench bench;
  Progress progress("train", "images", 0, 100000, bench.options(false));
  uint64_t done = 0;
  for (int second = 1; second <= 100; ++second) {
    bench.now = 100 + second;
    progress.update(done += second <= 60 ? 1000 : 100);
  }
  REQUIRE(bench.written.size() == 11);
  CHECK(bench.written[6] == "train  60,000/100,000  60%  1,000 images/s  ETA 0:40\n");
  CHECK(bench.written[9] == "train  63,000/100,000  63%  100 images/s  ETA 6:10\n");
}

TEST_CASE("without a known total there is neither percent nor ETA") {
  Bench bench;
  Progress progress("pack", "files", 0, 0, bench.options(false));
  bench.now += 10;
  progress.update(1500);
  CHECK(bench.written == Lines{"pack  0 files\n", "pack  1,500 files  150 files/s\n"});
}

TEST_CASE("on a narrow terminal the least of the line goes first") {
  const auto line_at = [](int columns) {
    Bench bench;
    bench.memory = uint64_t{3} << 30;
    bench.columns = columns;
    Progress progress("train", "images", 0, 64000, bench.options(true));
    bench.now += 10;
    progress.update(32000, "loss 0.03");
    return bench.written.back();
  };
  CHECK(line_at(72) == redrawn("train  32,000/64,000  50%  3,200 images/s  loss 0.03  ETA 0:10  3.0 GiB"));
  CHECK(line_at(71) == redrawn("train  32,000/64,000  50%  3,200 images/s  loss 0.03  ETA 0:10"));
  CHECK(line_at(62) == redrawn("train  32,000/64,000  50%  loss 0.03  ETA 0:10"));
  CHECK(line_at(46) == redrawn("train  50%  loss 0.03  ETA 0:10"));
  CHECK(line_at(31) == redrawn("train  50%  ETA 0:10"));
}

TEST_CASE("a line that is too long even so is cut between letters") {
  Bench bench;
  bench.columns = 11;
  Progress progress("übungslauf", "images", 0, 4, bench.options(true));
  CHECK(bench.written.back() == redrawn("übungslauf"));
  bench.columns = 9;
  bench.now += 1;
  progress.update(0);
  CHECK(bench.written.back() == redrawn("übungsla"));
}

TEST_CASE("colours change no width and stand only where they are wanted") {
  Bench bench;
  bench.memory = uint64_t{3} << 30;
  Progress progress("train", "images", 0, 64, bench.options(true, true));
  bench.now += 1;
  progress.update(32);
  CHECK(bench.written.back() ==
        redrawn("\x1B[1mtrain\x1B[0m  32/64  \x1B[36m50%\x1B[0m  32.0 images/s  \x1B[32mETA 0:01\x1B[0m  "
                "\x1B[2m3.0 GiB\x1B[0m"));
}

TEST_CASE("quiet means nothing at all") {
  Bench bench;
  ProgressOptions options = bench.options(true);
  options.quiet = true;
  {
    Progress progress("train", "images", 0, 64, options);
    bench.now += 20;
    progress.update(32);
    progress.clear();
    progress.finish();
  }
  CHECK(bench.written.empty());
}

TEST_CASE("a message clears the line, which comes back with the next redraw") {
  Bench bench;
  Progress progress("train", "images", 0, 64, bench.options(true));
  bench.now += 1;
  log(LogLevel::warning, "2 files were skipped (a message of the progress test)");
  CHECK(bench.written.back() == cleared);
  log(LogLevel::warning, "and one more (a message of the progress test)");
  CHECK(bench.written.size() == 2);
  progress.update(16);
  CHECK(bench.written.size() == 2);
  bench.now += 0.2;
  progress.update(16);
  CHECK(bench.written.back() == redrawn("train  16/64  25%  13.3 images/s  ETA 0:04"));
}

TEST_CASE("messages clear nothing elsewhere than on a terminal, and nothing after the last line") {
  Bench bench;
  {
    Progress plain("train", "images", 0, 64, bench.options(false));
    log(LogLevel::warning, "a message of the progress test");
    CHECK(bench.written.size() == 1);
  }
  Progress progress("train", "images", 0, 64, bench.options(true));
  progress.finish();
  log(LogLevel::warning, "a message of the progress test");
  CHECK(bench.written.back() == redrawn("train  0 images in 0:00") + "\n");
}

TEST_CASE("a loop that ends early leaves no line behind, and messages after it find none") {
  Bench bench;
  { Progress progress("train", "images", 0, 64, bench.options(true)); }
  CHECK(bench.written == Lines{redrawn("train  0/64  0%"), cleared});
  log(LogLevel::warning, "a message of the progress test");
  CHECK(bench.written.size() == 2);
}

TEST_CASE("the line drawn last is the one that a message clears") {
  Bench outer, inner;
  Progress train("train", "images", 0, 64, outer.options(true));
  {
    Progress sample("sample", "images", 0, 8, inner.options(true));
    log(LogLevel::warning, "a message of the progress test");
    CHECK(inner.written.back() == cleared);
    CHECK(outer.written.size() == 1);
  }
  outer.now += 1;
  train.update(8);
  log(LogLevel::warning, "a message of the progress test");
  CHECK(outer.written.back() == cleared);
}

TEST_CASE("colours follow --color, then NO_COLOR and the terminal") {
  CHECK(use_color(ColorChoice::always, false, "1", "dumb"));
  CHECK_FALSE(use_color(ColorChoice::never, true, nullptr, "xterm"));
  CHECK(use_color(ColorChoice::automatic, true, nullptr, "xterm"));
  CHECK(use_color(ColorChoice::automatic, true, "", "xterm"));
  CHECK_FALSE(use_color(ColorChoice::automatic, true, "1", "xterm"));
  CHECK_FALSE(use_color(ColorChoice::automatic, false, nullptr, "xterm"));
  CHECK_FALSE(use_color(ColorChoice::automatic, true, nullptr, "dumb"));
  CHECK_FALSE(use_color(ColorChoice::automatic, true, nullptr, nullptr));
}

TEST_CASE("the width is that of COLUMNS, of the terminal, or 80") {
  CHECK(line_width("120", 100) == 120);
  CHECK(line_width(nullptr, 100) == 100);
  CHECK(line_width("wide", 100) == 100);
  CHECK(line_width("3", 100) == 100);
  CHECK(line_width("", 0) == 80);
}

TEST_CASE("the options of this process have a clock that goes on and a process that takes memory") {
  const ProgressOptions options = progress_on_stderr(ColorChoice::never, true);
  CHECK(options.quiet);
  CHECK_FALSE(options.color);
  const double before = options.seconds();
  CHECK(options.seconds() >= before);
  CHECK(options.memory() > uint64_t{1} << 20);
  CHECK(options.width() >= 20);
}
