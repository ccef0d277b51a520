// Every pipeline of pipelines/ runs, made small by overrides. Data that has to be downloaded is replaced by files that
// look like it; what a package brings is skipped with a message where the package is not installed.
#include <set>

#include "core/data/images.hpp"
#include "tests/cli/program.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const fs::path fashion = "/usr/share/datasets/fashion-mnist";

std::string pipeline(const std::string& name) { return SDPIPE_SOURCE_DIR "/pipelines/" + name + ".toml"; }

// Coloured slopes; read_image tells formats by their bytes, so that a name may end in .jpg.
void write_folder(const fs::path& folder, int64_t height, int64_t width, const std::string& ending) {
  fs::create_directories(folder);
  for (int i = 0; i < 12; ++i) {
    ByteImage image{{3, height, width}, {}};
    for (int64_t c = 0; c < 3; ++c) {
      for (int64_t y = 0; y < height; ++y) {
        for (int64_t x = 0; x < width; ++x)
          image.pixels.push_back(static_cast<uint8_t>((x * (i + 1) + y * (c + 1)) % 256));
      }
    }
    write_png(folder / ("00000" + std::to_string(i) + ending), image);
  }
}

void check_run(const std::string& name, const Words& overrides) {
  const Workplace place;
  if (name == "celeba_blur") write_folder(place / "data/celeba/img_align_celeba", 218, 178, ".jpg");
  if (name == "emoji") write_folder(place / "data/emoji", 136, 128, ".png");
  Words words = {"run", pipeline(name), "--quiet", "sample.count=2", "sample.steps=2", "run.threads=1"};
  words.insert(words.end(), overrides.begin(), overrides.end());
  const Outcome outcome = place.sdpipe(words);
  CAPTURE(name, outcome.err);
  CHECK(outcome.code == 0);
  CHECK(fs::exists(place / ("runs/" + name + "/samples/sample-0001.png")));
  CHECK(fs::exists(place / ("runs/" + name + "/report.html")));
}

const Words small_network = {"model.channels=8", "model.multipliers=[1]",         "model.blocks=1",
                             "+model.groups=4",  "+model.middle_attention=false", "train.images=16",
                             "train.batch=8"};

}  // namespace

TEST_CASE("celeba_blur runs on files like CelebA's") { check_run("celeba_blur", small_network); }

TEST_CASE("emoji runs on pictures like the font's") { check_run("emoji", small_network); }

TEST_CASE("quickstart and oracle run on Fashion-MNIST") {
  if (!fs::exists(fashion)) {
    WARN("skipped: " + fashion.string() + " is not there; package dataset-fashion-mnist brings it");
    return;
  }
  check_run("quickstart", small_network);
  check_run("oracle", {"model.count=50"});
}

TEST_CASE("quickstart and oracle run on pictures like Fashion-MNIST's") {
  // The same files with the data set's folder replaced.
  for (const auto& [name, overrides] :
       {std::pair<std::string, Words>{"quickstart", small_network}, {"oracle", {"model.count=50"}}}) {
    Words words = overrides;
    words.push_back("data.path=pictures");
    const Workplace place;
    write_pictures(place / "pictures", 300, 28);
    words.insert(words.begin(),
                 {"run", pipeline(name), "--quiet", "sample.count=2", "sample.steps=2", "run.threads=1"});
    const Outcome outcome = place.sdpipe(words);
    CAPTURE(name, outcome.err);
    CHECK(outcome.code == 0);
  }
}

TEST_CASE("no pipeline is missing here") {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(SDPIPE_SOURCE_DIR "/pipelines"))
    names.insert(entry.path().stem().string());
  CHECK(names == std::set<std::string>({"celeba_blur", "emoji", "oracle", "quickstart"}));
}
