#include "core/host/discovery.hpp"

#include <stdlib.h>

#include "core/base/error.hpp"
#include "core/base/files.hpp"
#include "tests/broken_plugins/broken.hpp"
#include "tests/temporary_folder.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using sdpipe::testing::broken_plugin;
using sdpipe::testing::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

// Sets an environment variable, and puts the old value back.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* old = ::getenv(name)) old_ = old;
    if (value)
      ::setenv(name, value, 1);
    else
      ::unsetenv(name);
  }
  ~Environment() {
    if (old_)
      ::setenv(name_, old_->c_str(), 1);
    else
      ::unsetenv(name_);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const char* name_;
  std::optional<std::string> old_;
};

void place(const std::string& plugin, const fs::path& file) {
  fs::create_directories(file.parent_path());
  fs::copy_file(broken_plugin(plugin), file);
}

}  // namespace

TEST_CASE("a folder gives its .sdp.so files, and nothing below it or with another suffix") {
  const TemporaryFolder folder;
  place("sound", folder / "a.sdp.so");
  place("no_entry", folder / "sub/b.sdp.so");
  place("no_entry", folder / "c.so");
  write_file(folder / "notes.txt", "not a plugin");
  const Registry registry({{}, {folder.path()}});
  CHECK(registry.warnings().empty());
  REQUIRE(registry.plugins().size() == 2);
  CHECK(registry.ids(SDP_KIND_CORRUPTION) == std::vector<std::string>{"fade", "other_fade"});
  CHECK(registry.ids(SDP_KIND_MODEL).empty());
  REQUIRE(registry.find(SDP_KIND_CORRUPTION, "fade"));
  CHECK(registry.find(SDP_KIND_CORRUPTION, "fade")->file == folder / "a.sdp.so");
  CHECK_FALSE(registry.find(SDP_KIND_SAMPLER, "fade"));
  CHECK_FALSE(registry.find(SDP_KIND_CORRUPTION, "none"));
}

TEST_CASE(
    "of equal plugins the first wins, files in the order of their names, and the loser is reported with both paths") {
  const TemporaryFolder folder;
  place("sound", folder / "b.sdp.so");
  place("sound", folder / "a.sdp.so");
  const Registry registry({{}, {folder.path()}});
  CHECK(registry.find(SDP_KIND_CORRUPTION, "fade")->file == folder / "a.sdp.so");
  const std::string loser = (folder / "b.sdp.so").string(), winner = (folder / "a.sdp.so").string();
  CHECK(registry.warnings() ==
        std::vector<std::string>{"plugin " + loser + ": its corruption \"fade\" is passed over, " + winner +
                                     " has one of that name and comes first",
                                 "plugin " + loser + ": its corruption \"other_fade\" is passed over, " + winner +
                                     " has one of that name and comes first"});
}

TEST_CASE("named files come before folders, and folders in their order") {
  const TemporaryFolder folder;
  place("sound", folder / "one/x.sdp.so");
  place("sound", folder / "two/a.sdp.so");
  place("sound", folder / "three/z.sdp.so");
  const auto winner = [&](const PluginSearch& search) {
    return Registry(search).find(SDP_KIND_CORRUPTION, "fade")->file;
  };
  CHECK(winner({{}, {folder / "one", folder / "two"}}) == folder / "one/x.sdp.so");
  CHECK(winner({{}, {folder / "two", folder / "one"}}) == folder / "two/a.sdp.so");
  CHECK(winner({{folder / "three/z.sdp.so"}, {folder / "one", folder / "two"}}) == folder / "three/z.sdp.so");
}

TEST_CASE("a file that is found twice is no duplicate of itself") {
  const TemporaryFolder folder;
  place("sound", folder / "real/a.sdp.so");
  fs::create_directories(folder / "links");
  fs::create_symlink(folder / "real/a.sdp.so", folder / "links/b.sdp.so");
  const Registry registry({{folder / "real/a.sdp.so"}, {folder / "real", folder / "real", folder / "links"}});
  CHECK(registry.warnings().empty());
  CHECK(registry.plugins().size() == 2);
}

TEST_CASE("a bad file in a folder is a warning and the others are used; a bad file that was named is an error") {
  const TemporaryFolder folder;
  place("sound", folder / "z.sdp.so");
  place("no_entry", folder / "a.sdp.so");
  const std::string reason =
      "plugin " + (folder / "a.sdp.so").string() + ": it exports no sdp_plugin_v1, so it is not an sdpipe plugin";
  const Registry registry({{}, {folder.path()}});
  CHECK(registry.warnings() == std::vector<std::string>{reason});
  CHECK(registry.find(SDP_KIND_CORRUPTION, "fade"));
  CHECK_THROWS_WITH(Registry({{folder / "a.sdp.so"}, {}}), reason);
}

TEST_CASE("a folder that is not there is no matter, one that cannot be read is a warning") {
  const TemporaryFolder folder;
  write_file(folder / "file", "");
  const Registry registry({{}, {folder / "none", folder / "file"}});
  CHECK(registry.plugins().empty());
  CHECK(registry.warnings() ==
        std::vector<std::string>{"plugin folder " + (folder / "file").string() + ": Not a directory"});
}

TEST_CASE("the environment's folders come first, in their order, and relative ones are ignored") {
  const Environment path("SDPIPE_PLUGIN_PATH", "/first:relative::.:/second/:../up"), data("XDG_DATA_HOME", "/data");
  const std::vector<fs::path> folders = default_plugin_folders();
  REQUIRE(folders.size() >= 3);
  CHECK(folders[0] == "/first");
  CHECK(folders[1] == "/second/");
  CHECK(folders[2] == "/data/sdpipe/plugins");
}

TEST_CASE("without the environment the user's own folder comes first, and never the current one") {
  const Environment path("SDPIPE_PLUGIN_PATH", nullptr), data("XDG_DATA_HOME", nullptr);
  {
    const Environment home("HOME", "/home/ada");
    CHECK(default_plugin_folders().at(0) == "/home/ada/.local/share/sdpipe/plugins");
  }
  const Environment relative("XDG_DATA_HOME", "here"), home("HOME", "there");
  for (const fs::path& folder : default_plugin_folders()) CHECK(folder.is_absolute());
}
