#include <cstdio>
#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

#include "tests/catch.h"

namespace fs = std::filesystem;

namespace {

// The names that the dynamic linker sees defined in `file`.
std::vector<std::string> exported(const fs::path& file) {
  const std::string command = std::string(SDPIPE_NM) + " -D --defined-only --format=posix " + file.string();
  std::FILE* out = ::popen(command.c_str(), "r");
  REQUIRE(out);
  std::vector<std::string> names;
  char line[8192];
  while (std::fgets(line, sizeof line, out)) {
    std::string name;
    std::istringstream(line) >> name;
    names.push_back(name.substr(0, name.find('@')));
  }
  REQUIRE(::pclose(out) == 0);
  return names;
}

}  // namespace

TEST_CASE("every built-in plugin exports its entry point and nothing else") {
  size_t plugins = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(SDPIPE_BUILD_DIR "/plugins")) {
    if (!entry.path().string().ends_with(".sdp.so")) continue;
    ++plugins;
    INFO(entry.path().string());
    CHECK(exported(entry.path()) == std::vector<std::string>{"sdp_plugin_v1"});
  }
  CHECK(plugins >= 15);
}

#ifdef SDPIPE_PROGRAM
TEST_CASE("the program exports no symbol of sdpipe's, so that no plugin can come to depend on one") {
  const std::vector<std::string> names = exported(SDPIPE_PROGRAM);
  for (const std::string& name : names) {
    INFO(name);
    CHECK(name.find("sdpipe") == std::string::npos);
    CHECK(name.find("sdp_") == std::string::npos);
    CHECK(name.find("3sdp") == std::string::npos);  // the namespace of plugin.hpp, mangled
  }
}
#endif
