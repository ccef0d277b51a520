// A corruption in plain C, in a folder outside the repository, compiled against plugin.h alone and used by the program
// as it was built before.
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>

#include "core/base/files.hpp"
#include "core/base/hash.hpp"
#include "tests/catch.h"
#include "tests/temporary_folder.hpp"

using namespace sdpipe;
namespace fs = std::filesystem;

namespace {

struct Outcome {
  int code;
  std::string out, err;
};

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// A folder with a copy of plugin.h, the plugin's source and its library.
class ThirdParty {
 public:
  ThirdParty() {
    fs::create_directory(folder_ / "header");
    fs::copy_file(SDPIPE_SOURCE_DIR "/core/abi/plugin.h", folder_ / "header/plugin.h");
    fs::copy_file(SDPIPE_SOURCE_DIR "/tests/cli/third_party_fade.c", folder_ / "fade.c");
    compiled_ = shell("cd " + folder_.path().string() +
                      " && " SDPIPE_C_COMPILER
                      " -std=c99 -Wall -Wextra -Wpedantic -Werror -shared -fPIC -Iheader fade.c -o fade.sdp.so");
  }
  const Outcome& compiled() const { return compiled_; }
  fs::path operator/(const std::string& name) const { return folder_ / name; }
  // The program, in the folder and with it in the search path; nothing else of the user's environment.
  Outcome sdpipe(const std::string& arguments) const {
    return shell("cd " + folder_.path().string() + " && SDPIPE_PLUGIN_PATH=" + folder_.path().string() +
                 " XDG_DATA_HOME=" + folder_.path().string() + " " SDPIPE_PROGRAM " " + arguments);
  }

 private:
  Outcome shell(const std::string& command) const {
    const std::string out = (folder_ / "out").string(), err = (folder_ / "err").string();
    const int status = std::system(("(" + command + ") > " + out + " 2> " + err).c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(out), read_file(err)};
  }

  testing::TemporaryFolder folder_;
  Outcome compiled_;
};

// 24 pictures of 6 x 6 pixels as an IDX file.
void write_pictures(const fs::path& folder) {
  fs::create_directory(folder);
  std::string content("\0\0\x08\x03\0\0\0\x18\0\0\0\x06\0\0\0\x06", 16);
  for (int i = 0; i < 24 * 36; ++i) content += static_cast<char>(i * 37 % 251);
  write_file(folder / "train-images-idx3-ubyte", content);
}

const std::string pipeline = R"(
[run]
name = "faded"
[data]
type = "idx"
path = "pictures"
[corruption]
type = "org.example.fade"
depth = 0.8
[schedule]
type = "linear"
[noise]
type = "geometric"
sigma_min = 0.01
sigma_max = 0.5
[model]
type = "empirical"
count = 24
[sampler]
type = "ddim"
[sample]
steps = 4
count = 4
)";

}  // namespace

TEST_CASE("a corruption in plain C is built, listed, shown, checked and run without rebuilding the program") {
  const std::string before = sha256_of_file(SDPIPE_PROGRAM);
  const std::string source = read_file(SDPIPE_SOURCE_DIR "/tests/cli/third_party_fade.c");
  CHECK(std::count(source.begin(), source.end(), '\n') <= 60);
  const ThirdParty party;
  CHECK(party.compiled().err == "");
  REQUIRE(party.compiled().code == 0);

  const Outcome list = party.sdpipe("plugins list");
  CHECK(list.err == "");
  CHECK(list.code == 0);
  CHECK(contains(list.out, "org.example.fade"));
  CHECK(contains(list.out, (party / "fade.sdp.so").string()));

  const Outcome show = party.sdpipe("plugins show org.example.fade");
  CHECK(show.code == 0);
  CHECK(contains(show.out, "version 0.3.0"));
  CHECK(contains(show.out, "float > 0 and <= 1, default 0.9"));
  CHECK(contains(show.out, "How far the picture fades"));

  const Outcome check = party.sdpipe("plugins check fade.sdp.so");
  CHECK(check.code == 0);
  CHECK(contains(check.out, "corruption.adjoint.float64"));
  CHECK_FALSE(contains(check.out, "FAIL"));

  write_pictures(party / "pictures");
  write_file(party / "faded.toml", pipeline);
  const Outcome run = party.sdpipe("run faded.toml");
  INFO(run.err);
  REQUIRE(run.code == 0);
  const std::string manifest = read_file(party / "runs/faded/manifest.json");
  CHECK(contains(manifest, "\"org.example.fade\""));
  CHECK(contains(manifest, (party / "fade.sdp.so").string()));
  CHECK(contains(manifest, sha256_of_file(party / "fade.sdp.so")));
  CHECK(sha256_of_file(SDPIPE_PROGRAM) == before);
}

TEST_CASE("a parameter out of the range that the plugin in C states is refused by the pipeline's checker") {
  const ThirdParty party;
  write_pictures(party / "pictures");
  write_file(party / "faded.toml", pipeline);
  const Outcome check = party.sdpipe("check faded.toml corruption.depth=1.5");
  CHECK(check.code == 2);
  CHECK(contains(check.err, "parameter \"depth\" must be > 0 and <= 1, not 1.5"));
}
