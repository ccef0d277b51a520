#include "core/training/run_folder.hpp"

#include <fstream>

#include "tests/diffusion/setup.hpp"
#include "tests/temporary_folder.hpp"
#include "tests/training/capture.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;
namespace fs = std::filesystem;

TEST_CASE("a run's folder is made, and held against a second holder") {
  const TemporaryFolder folder;
  const fs::path place = folder / "runs/a";
  {
    const RunFolder first(place);
    CHECK(message_of<RunError>([&] { RunFolder second(place); }) ==
          place.string() +
              " is in use by another sdpipe; wait for it, or give this run another name with run.name=...");
    CHECK(message_of<RunError>([&] { move_run_aside(place); }) ==
          place.string() +
              " is in use by another sdpipe; wait for it, or give this run another name with run.name=...");
    CHECK(first.checkpoints() == place / "checkpoints");
  }
  CHECK_NOTHROW(RunFolder(place));
}

TEST_CASE("a folder that cannot be made is an error that names it") {
  const TemporaryFolder folder;
  write_file(folder / "file", "in the way");
  const std::string message = message_of<RunError>([&] { RunFolder run(folder / "file/a"); });
  CHECK(message.find("the run's folder cannot be made: ") == 0);
  CHECK(message.find((folder / "file").string()) != std::string::npos);
}

TEST_CASE("an old run moves aside to the next free name") {
  const TemporaryFolder folder;
  CHECK(move_run_aside(folder / "a").empty());
  CHECK_FALSE(fs::exists(folder / "a"));
  for (const char* expected : {"a.1", "a.2"}) {
    fs::create_directory(folder / "a");
    write_file(folder / "a/resolved.toml", expected);
    CHECK(move_run_aside(folder / "a") == folder / expected);
    CHECK(read_file(folder / expected / "resolved.toml") == expected);
    CHECK_FALSE(fs::exists(folder / "a"));
  }
}

TEST_CASE("logs grow by lines and are cut where told, a torn last line included") {
  const TemporaryFolder folder;
  const fs::path log = folder / "log";
  cut_log(log, [](const std::string&) { return true; });
  CHECK_FALSE(fs::exists(log));
  for (const char* line : {"1", "2", "3"}) append_line(log, line);
  CHECK(read_file(log) == "1\n2\n3\n");
  std::ofstream(log, std::ios::app) << "to";
  cut_log(log, [](const std::string&) { return true; });
  CHECK(read_file(log) == "1\n2\n3\n");
  cut_log(log, [](const std::string& line) { return line != "2"; });
  CHECK(read_file(log) == "1\n");
}

TEST_CASE("a log on a full disk costs its lines and one warning") {
  Capture capture;
  append_line("/dev/full", "1");
  append_line("/dev/full", "2");
  CHECK(capture.text() == "warning: /dev/full cannot be written, is the disk full? The run goes on without its log\n");
}

TEST_CASE("what a killed process left unfinished in a run's folder goes at the next start, and only that") {
  const TemporaryFolder folder;
  fs::create_directories(folder / "run/samples");
  for (const char* name :
       {"run/report.html.tmp-12", "run/samples/grid.png.tmp-7", "run/notes.tmp-x", "run/samples/grid.png"}) {
    std::ofstream(folder / name) << "a";
  }
  const RunFolder run(folder / "run");
  CHECK_FALSE(fs::exists(folder / "run/report.html.tmp-12"));
  CHECK_FALSE(fs::exists(folder / "run/samples/grid.png.tmp-7"));
  CHECK(fs::exists(folder / "run/notes.tmp-x"));
  CHECK(fs::exists(folder / "run/samples/grid.png"));
}

TEST_CASE("a file that already says so is not written again") {
  const TemporaryFolder folder;
  const fs::path file = folder / "file";
  update_file(file, "a");
  const fs::file_time_type old = fs::last_write_time(file) - std::chrono::hours(1);
  fs::last_write_time(file, old);
  update_file(file, "a");
  CHECK(fs::last_write_time(file) == old);
  update_file(file, "b");
  CHECK(read_file(file) == "b");
}
