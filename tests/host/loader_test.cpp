#include <sys/stat.h>

#include <fstream>

#include "core/abi/fingerprint.hpp"
#include "core/base/error.hpp"
#include "core/base/files.hpp"
#include "core/host/library.hpp"
#include "tests/broken_plugins/broken.hpp"
#include "tests/temporary_folder.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using sdpipe::testing::broken_plugin;
using sdpipe::testing::TemporaryFolder;
namespace fs = std::filesystem;

namespace {

// Why the loader refuses `file`, without the beginning that names it.
std::string refusal(const fs::path& file) {
  try {
    load_library(file);
  } catch (const PluginError& e) {
    CHECK(e.code() == Exit::plugin);
    const std::string text = e.what(), beginning = "plugin " + file.string() + ": ";
    CHECK(text.substr(0, beginning.size()) == beginning);
    return text.substr(beginning.size());
  }
  return "loaded";
}

std::string refusal_of(const std::string& name) { return refusal(broken_plugin(name)); }

}  // namespace

TEST_CASE("a sound file gives its plugins, with their schemas, as often as one asks") {
  const std::vector<Plugin> plugins = load_library(broken_plugin("sound"));
  REQUIRE(plugins.size() == 2);
  CHECK(plugins[0].id() == "fade");
  CHECK(plugins[1].id() == "other_fade");
  CHECK(plugins[0].kind() == SDP_KIND_CORRUPTION);
  CHECK(plugins[0].file == broken_plugin("sound"));
  CHECK(plugins[0].license == "Apache-2.0");
  REQUIRE(plugins[0].schema.size() == 2);
  CHECK(plugins[0].schema[0].describe() == "float >= 0 and <= 1, default 0.5");
  CHECK_FALSE(plugins[0].has(SDP_CAP_SERIAL));
  CHECK(load_library(broken_plugin("sound"))[0].descriptor == plugins[0].descriptor);
}

TEST_CASE("the kinds have names") {
  CHECK(kind_name(SDP_KIND_CORRUPTION) == "corruption");
  CHECK(kind_name(SDP_KIND_SCHEDULE) == "schedule");
  CHECK(kind_name(SDP_KIND_MODEL) == "model");
  CHECK(kind_name(SDP_KIND_SAMPLER) == "sampler");
  CHECK(kind_name(9) == "unknown kind");
}

TEST_CASE("a file that is not there, or not a file, is refused") {
  const TemporaryFolder folder;
  CHECK(refusal(folder / "none.sdp.so") == "there is no such file");
  CHECK(refusal(folder.path()) == "this is not a regular file");
  ::mkfifo((folder / "pipe.sdp.so").c_str(), 0600);
  CHECK(refusal(folder / "pipe.sdp.so") == "this is not a regular file");
  fs::create_symlink("loop.sdp.so", folder / "loop.sdp.so");
  CHECK(refusal(folder / "loop.sdp.so") == "Too many levels of symbolic links");
}

TEST_CASE("a file that anyone may change is refused, before anything of it runs") {
  const TemporaryFolder folder;
  const fs::path file = folder / "open.sdp.so";
  fs::copy_file(broken_plugin("sound"), file);
  ::chmod(file.c_str(), 0646);
  CHECK(refusal(file) == "everyone may write to this file, so that anyone could change what runs here; `chmod o-w " +
                             file.string() + "` if you trust it");
  ::chmod(file.c_str(), 0644);
  CHECK(load_library(file).size() == 2);
}

TEST_CASE("what is not a whole shared library is refused") {
  const TemporaryFolder folder;
  write_file(folder / "text.sdp.so", "#!/bin/sh\necho hello\n");
  write_file(folder / "empty.sdp.so", "");
  CHECK(refusal(folder / "text.sdp.so") == "this is not a shared library");
  CHECK(refusal(folder / "empty.sdp.so") == "this is not a shared library");
  const std::string whole = read_file(broken_plugin("sound"));
  for (const size_t size : {size_t{5}, size_t{100}, whole.size() / 2, whole.size() - 1}) {
    write_file(folder / "cut.sdp.so", whole.substr(0, size));
    CHECK(refusal(folder / "cut.sdp.so") ==
          "this is not a whole shared library for 64-bit Linux: its table of exported symbols cannot be read");
  }
}

TEST_CASE("a library without the entry symbol is not a plugin; one of another major version says so") {
  CHECK(refusal_of("no_entry") == "it exports no sdp_plugin_v1, so it is not an sdpipe plugin");
  CHECK(refusal_of("other_major") ==
        "it is made for major version 2 of the plugin ABI, this sdpipe speaks 1; rebuild it against this sdpipe's "
        "plugin.h");
}

TEST_CASE("a plugin that needs a newer minor version is refused") {
  CHECK(refusal_of("newer_minor") == "it needs version 1.7 of the plugin ABI, this sdpipe has 1.0; use a newer sdpipe");
}

TEST_CASE("an entry point that returns nothing is refused with its reason") {
  CHECK(refusal_of("declines") == "it declines to load: needs a processor with eleven fingers");
  CHECK(refusal_of("declines_silently") == "it declines to load: it gives no reason");
}

TEST_CASE("a symbol that nothing defines is named") {
  const std::string file = fs::canonical(broken_plugin("unresolved")).string();
  CHECK(refusal_of("unresolved") ==
        "the dynamic linker refuses it: undefined symbol: symbol_that_nobody_defines; `ldd -r " + file +
            "` shows what it lacks");
}

TEST_CASE("a plugin built with another LibTorch is refused") {
  CHECK(refusal_of("other_torch") ==
        std::string("it was built with torch 1.0, another ABI, this sdpipe with ") + SDP_FINGERPRINT + "; rebuild it");
}

TEST_CASE("a library or descriptor that is smaller than version 1.0's is refused") {
  CHECK(refusal_of("small_library") == "its sdp_library has 24 bytes, at least 40 are needed");
  CHECK(refusal_of("small_descriptor") == "one of its descriptors is missing or too small");
  CHECK(refusal_of("nothing_inside") == "it holds no plugin");
}

TEST_CASE("a descriptor must be complete") {
  CHECK(refusal_of("no_id") == "one of its descriptors lacks id, version or summary");
  CHECK(refusal_of("incomplete_table") ==
        "\"fade\" does not offer the complete function table of its kind, and that alone");
  CHECK(refusal_of("other_kind") == "\"fade\" does not offer the complete function table of its kind, and that alone");
  CHECK(refusal_of("no_float32") == "\"fade\" does not offer float32 on the CPU, which is obligatory");
}

TEST_CASE("two plugins of one kind and name in one file are refused") {
  CHECK(refusal_of("equal_ids") == "it holds two corruptions named \"fade\"");
}

TEST_CASE("an invalid schema is refused with what is wrong in it") {
  CHECK(refusal_of("bad_key") ==
        "the parameters of \"fade\" are invalid: parameter \"Depth\" must match [a-z][a-z0-9_]*");
  CHECK(refusal_of("reserved_key") ==
        "the parameters of \"fade\" are invalid: parameter \"type\" has a reserved name: type, from and to belong to "
        "the pipeline file");
  CHECK(refusal_of("duplicate_key") == "the parameters of \"fade\" are invalid: parameter \"depth\" is there twice");
  CHECK(refusal_of("default_out_of_range") ==
        "the parameters of \"fade\" are invalid: parameter \"depth\" has the default 1.5, which is not >= 0 and <= 1; "
        "parameter \"speed\" has the default 1.5, which is not >= -1 and <= 1");
}
