#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "core/base/files.hpp"
#include "tests/catch.h"
#include "tests/temporary_folder.hpp"

using sdpipe::read_file;
using sdpipe::write_file;
namespace fs = std::filesystem;

namespace {

const fs::path abi = SDPIPE_SOURCE_DIR "/core/abi";

bool installed(const std::string& program) {
  return std::system(("command -v " + program + " > /dev/null 2>&1").c_str()) == 0;
}

std::vector<std::string> c_compilers() {
  std::vector<std::string> all = {SDPIPE_C_COMPILER};
  if (installed("clang")) all.push_back("clang");
  return all;
}

std::vector<std::string> cxx_compilers() {
  std::vector<std::string> all = {SDPIPE_CXX_COMPILER};
  if (installed("clang++")) all.push_back("clang++");
  return all;
}

// A folder of headers and nothing else, and a file that includes one of them.
class Alone {
 public:
  // plugin.h alone.
  static Alone plugin_h(const std::string& extension) { return Alone({"plugin.h"}, "plugin.h", extension); }
  // plugin.hpp among the headers that are installed beside it.
  static Alone plugin_hpp() {
    std::vector<std::string> headers;
    for (const fs::directory_entry& entry : fs::directory_iterator(abi))
      headers.push_back(entry.path().filename().string());
    return Alone(headers, "plugin.hpp", "cpp");
  }
  // What the compiler says; nothing if it is content.
  std::string complaint(const std::string& compiler, const std::string& dialect, const std::string& warnings) const {
    const fs::path log = folder_ / "log";
    const std::string command = compiler + " -std=" + dialect + " -fsyntax-only -Werror " + warnings + " " +
                                source_.string() + " > " + log.string() + " 2>&1";
    return std::system(command.c_str()) == 0 ? "" : command + "\n" + read_file(log);
  }

 private:
  Alone(const std::vector<std::string>& headers, const std::string& used, const std::string& extension)
      : source_(folder_ / ("use." + extension)) {
    for (const std::string& header : headers) fs::copy_file(abi / header, folder_ / header);
    write_file(source_, "#include \"" + used + "\"\n");
  }
  sdpipe::testing::TemporaryFolder folder_;
  fs::path source_;
};

const std::string strict = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wpadded";

}  // namespace

TEST_CASE("plugin.h needs nothing else and compiles clean in every dialect of C from C99") {
  const Alone header = Alone::plugin_h("c");
  for (const std::string& compiler : c_compilers()) {
    for (const char* dialect : {"c99", "c11", "c17"}) CHECK(header.complaint(compiler, dialect, strict) == "");
  }
}

TEST_CASE("plugin.h needs nothing else and compiles clean in every dialect of C++ from C++11") {
  const Alone header = Alone::plugin_h("cpp");
  for (const std::string& compiler : cxx_compilers()) {
    for (const char* dialect : {"c++11", "c++14", "c++17", "c++20"})
      CHECK(header.complaint(compiler, dialect, strict) == "");
  }
}

TEST_CASE("plugin.hpp needs the headers beside it and the standard library alone, and compiles clean from C++17") {
  const Alone header = Alone::plugin_hpp();
  for (const std::string& compiler : cxx_compilers()) {
    for (const char* dialect : {"c++17", "c++20"})
      CHECK(header.complaint(compiler, dialect, "-Wall -Wextra -Wpedantic") == "");
  }
}

TEST_CASE("a plugin that asks for a newer minor version than the header's does not compile") {
  const Alone header = Alone::plugin_h("c");
  CHECK(header.complaint(SDPIPE_C_COMPILER, "c99", "-DSDP_TARGET_MINOR=9")
            .find("SDP_TARGET_MINOR is newer than this header") != std::string::npos);
}

TEST_CASE("a function that may throw does not compile into a function table") {
  const sdpipe::testing::TemporaryFolder folder;
  const std::string begin = "#include \"core/abi/plugin.h\"\nvoid f(void*) ",
                    end = " {}\nsdp_schedule_vt table = {0, 0, nullptr, f, nullptr};\n";
  const auto compiles = [&](const std::string& specification) {
    write_file(folder / "f.cpp", begin + specification + end);
    return std::system((std::string(SDPIPE_CXX_COMPILER) + " -std=c++17 -fsyntax-only -I" SDPIPE_SOURCE_DIR " " +
                        (folder / "f.cpp").string() + " 2> /dev/null")
                           .c_str()) == 0;
  };
  CHECK(compiles("noexcept"));
  CHECK_FALSE(compiles(""));
}
