#include "core/host/symbols.hpp"

#include <random>

#include "core/base/files.hpp"
#include "tests/broken_plugins/broken.hpp"
#include "tests/catch.h"

using namespace sdpipe;
using sdpipe::testing::broken_plugin;

TEST_CASE("a plugin's exported symbols are read without loading it") {
  CHECK(exported_symbols(read_file(broken_plugin("broken_corruptions"))) == std::vector<std::string>{"sdp_plugin_v1"});
  CHECK(exported_symbols(read_file(broken_plugin("no_entry"))) == std::vector<std::string>{"some_function"});
}

TEST_CASE("what is no 64-bit ELF file has no symbols to tell") {
  CHECK_FALSE(exported_symbols(""));
  CHECK_FALSE(
      exported_symbols("\x7f"
                       "ELF"));
  CHECK_FALSE(exported_symbols(std::string(200, 'x')));
  std::string content = read_file(broken_plugin("sound"));
  content[4] = 1;  // EI_CLASS: 32 bit
  CHECK_FALSE(exported_symbols(content));
}

TEST_CASE("a file that was cut off anywhere is not whole") {
  const std::string content = read_file(broken_plugin("sound"));
  for (size_t size = 0; size < content.size(); size += 37) CHECK_FALSE(exported_symbols(content.substr(0, size)));
}

TEST_CASE("no damage makes the reader leave the file") {
  const std::string content = read_file(broken_plugin("sound"));
  std::mt19937 random(1);
  size_t readable = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string damaged = content;
    // Half of the damage goes into the header and the section table at the end, where the offsets are.
    const size_t from = i % 2 ? 0 : damaged.size() - 2048;
    for (int k = 0; k < 8; ++k) damaged[from + random() % (i % 2 ? 64 : 2048)] = static_cast<char>(random());
    readable += exported_symbols(damaged).has_value();
  }
  CHECK(readable < 3000);
}
