#include "core/base/files.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <system_error>

#include "tests/catch.h"
#include "tests/temporary_folder.hpp"

using namespace sdpipe;
namespace fs = std::filesystem;

namespace {

size_t entries(const fs::path& folder) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

}  // namespace

TEST_CASE("a written file reads back byte for byte, and no temporary file is left") {
  const testing::TemporaryFolder folder;
  const std::string content("a\0b\n\xff", 5);
  write_file(folder / "f", content);
  CHECK(read_file(folder / "f") == content);
  write_file(folder / "f", "");
  CHECK(read_file(folder / "f") == "");
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("a reader that opened a file before it was written anew keeps the whole old content") {
  const testing::TemporaryFolder folder;
  write_file(folder / "f", "old");
  std::ifstream reader(folder / "f");
  write_file(folder / "f", "newer");
  std::string seen;
  reader >> seen;
  CHECK(seen == "old");
  CHECK(read_file(folder / "f") == "newer");
}

TEST_CASE("where a file cannot be written, the error names it and what was there stays") {
  const testing::TemporaryFolder folder;
  fs::create_directory(folder / "taken");
  write_file(folder / "taken/inside", "kept");
  CHECK_THROWS_WITH(write_file(folder / "taken", "x"), (folder / "taken").string() + ": Is a directory");
  CHECK(read_file(folder / "taken/inside") == "kept");
  CHECK(entries(folder.path()) == 1);

  const fs::path nowhere = folder / "none/f";
  CHECK_THROWS_WITH(write_file(nowhere, "x"), nowhere.string() + ": No such file or directory");
  CHECK_FALSE(fs::exists(folder / "none"));
}

TEST_CASE("a folder for what comes later is made at once, and one that cannot be is named") {
  const testing::TemporaryFolder folder;
  require_writable(folder / "new/inner");
  CHECK(fs::is_directory(folder / "new/inner"));
  require_writable(folder / "new/inner");
  write_file(folder / "file", "x");
  CHECK_THROWS_WITH(require_writable(folder / "file"), (folder / "file").string() + ": Not a directory");
  CHECK_THROWS_WITH(require_writable(folder / "file/inner"), (folder / "file/inner").string() + ": Not a directory");
  if (::geteuid() == 0) return;  // who may write everywhere
  fs::permissions(folder / "new", fs::perms::owner_read | fs::perms::owner_exec);
  CHECK_THROWS_WITH(require_writable(folder / "new"), (folder / "new").string() + ": Permission denied");
  fs::permissions(folder / "new", fs::perms::owner_all);
}

TEST_CASE("a full device is reported and the old content stays") {
  const testing::TemporaryFolder folder;
  const fs::path file = folder / "f";
  write_file(file, "old");
  // The temporary file, whose name is known, is a door to a device that is always full.
  fs::create_symlink("/dev/full", file.string() + ".tmp-" + std::to_string(::getpid()));
  CHECK_THROWS_WITH(write_file(file, "new"), file.string() + ": No space left on device");
  CHECK(read_file(file) == "old");
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("a relative file without a folder is written beside the others of the current folder") {
  const testing::TemporaryFolder folder;
  const fs::path before = fs::current_path();
  fs::current_path(folder.path());
  write_file("f", "here");
  fs::current_path(before);
  CHECK(read_file(folder / "f") == "here");
}

TEST_CASE("reading names the file and the reason") {
  const testing::TemporaryFolder folder;
  CHECK_THROWS_WITH(read_file(folder / "none"), (folder / "none").string() + ": No such file or directory");
  CHECK_THROWS_WITH(read_file(folder.path()), folder.path().string() + ": Is a directory");
  CHECK_THROWS_AS(read_file(folder / "none"), std::system_error);
}

TEST_CASE("one holds a lock at a time, another process included, and it ends with its holder") {
  const testing::TemporaryFolder folder;
  {
    const FileLock first(folder / "lock");
    CHECK(first.held());
    CHECK_FALSE(FileLock(folder / "lock").held());
    const pid_t child = ::fork();
    if (child == 0) ::_exit(FileLock(folder / "lock").held() ? 1 : 0);
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
  }
  CHECK(FileLock(folder / "lock").held());
}

TEST_CASE("a lock that cannot be made names its file") {
  const testing::TemporaryFolder folder;
  CHECK_THROWS_WITH(FileLock(folder / "none/lock"), (folder / "none/lock").string() + ": No such file or directory");
}
