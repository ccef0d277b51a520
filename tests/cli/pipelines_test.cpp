// Every pipeline of pipelines/ runs, made small by overrides. Data that has to be downloaded is replaced by files that
// look like it; what a package brings is skipped with a message where the package is not installed.
#include <set>
#include <sstream>

#include "core/data/images.hpp"
#include "tests/cli/program.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const fs::path fashion = "/usr/share/datasets/fashion-mnist";

// Records of one label byte and 3 x 32 x 32 pixel bytes, in five files as CIFAR-10 comes.
void write_cifar(const fs::path& folder) {
  fs::create_directories(folder);
  for (int file = 1; file <= 5; ++file) {
    std::string records;
    for (int i = 0; i < 4; ++i) {
      records += static_cast<char>(i);
      for (int j = 0; j < 3072; ++j) records += static_cast<char>((file + i) * j / 16);
    }
    write_file(folder / ("data_batch_" + std::to_string(file) + ".bin"), records);
  }
}

std::string pipeline(const std::string& name) { return SDPIPE_SOURCE_DIR "/pipelines/" + name + ".toml"; }

// Coloured slopes; read_image tells formats by their bytes, so that a name may end in .jpg.
void write_folder(const fs::path& folder, int64_t height, int64_t width, const std::string& ending) {
  fs::create_directories(folder);
  for (int i = 10; i < 34; ++i) {
    ByteImage image{{3, height, width}, {}};
    for (int64_t c = 0; c < 3; ++c) {
      for (int64_t y = 0; y < height; ++y) {
        for (int64_t x = 0; x < width; ++x)
          image.pixels.push_back(static_cast<uint8_t>((x * (i + 1) + y * (c + 1)) % 256));
      }
    }
    write_png(folder / ("0000" + std::to_string(i) + ending), image);
  }
}

// Data that looks like what the pipeline asks for; words that point to it, where the pipeline names a system's folder.
Words stand_in_data(const std::string& name, const Workplace& place) {
  if (name == "celeba_blur" || name == "celeba_mask" || name == "paper_celeba")
    return write_folder(place / "data/celeba/img_align_celeba", 218, 178, ".jpg"), Words{};
  if (name == "emoji") return write_folder(place / "data/emoji", 136, 128, ".png"), Words{"data.held_out=4"};
  if (name == "cifar10_blur" || name == "paper_cifar10")
    return write_cifar(place / "data/cifar-10-batches-bin"), Words{};
  write_pictures(place / "pictures", 300, 28);
  return {"data.path=pictures"};
}

// Which pipelines there are, and what makes a run of each small.
const Words small_network = {"model.channels=8", "model.multipliers=[1]",         "model.blocks=1",
                             "+model.groups=4",  "+model.middle_attention=false", "train.images=16",
                             "train.batch=8"};
const Words small_ncsnpp = {"model.nf=8", "model.num_res_blocks=1", "train.images=8", "train.batch=4"};
// Four samples mean nothing for frechet, but are enough to run.
const Words small_ablation = {"ablate.0.count=4", "ablate.0.sample.steps=[2]",
                              "ablate.0.sampler=[{ type = \"ddim\" }, { type = \"multistep\" }]", "--force"};

std::map<std::string, Words> all_pipelines() {
  std::map<std::string, Words> all = {{"oracle", {"model.count=50"}}};
  for (const std::string name :
       {"quickstart", "mask", "compose", "cold", "flow", "emoji", "celeba_mask", "cifar10_blur"}) {
    all[name] = small_network;
  }
  all["celeba_blur"] = small_ncsnpp;
  all["blur_vs_noise"] = small_network;
  all["blur_vs_noise"].insert(all["blur_vs_noise"].end(), small_ablation.begin(), small_ablation.end());
  all["paper"] = all["blur_vs_noise"];
  all["paper"].insert(all["paper"].end(), {"ablate.1.count=4", "ablate.1.sample.steps=[2]"});
  // Their scores train a network of features on colour images, which takes minutes; the tables above are compared too.
  all["paper_cifar10"] = small_network;
  all["paper_celeba"] = small_ncsnpp;
  all["paper_celeba"].push_back("data.resize=32");
  for (const char* name : {"paper_cifar10", "paper_celeba"}) all[name].push_back("~ablate");
  return all;
}

// One run in a folder of its own; the report must be there, and the pictures of every variant.
void check_run(const std::string& name, const Words& overrides, bool stand_in) {
  const Workplace place;
  Words words = {"run", pipeline(name), "--quiet", "sample.count=2", "sample.steps=2", "run.threads=1"};
  words.insert(words.end(), overrides.begin(), overrides.end());
  if (stand_in) {
    const Words data = stand_in_data(name, place);
    words.insert(words.end(), data.begin(), data.end());
  }
  const Outcome outcome = place.sdpipe(words);
  CAPTURE(name, outcome.err);
  CHECK(outcome.code == 0);
  const fs::path folder = place / ("runs/" + name);
  CHECK(fs::exists(folder / "report.html"));
  std::vector<fs::path> trained = {folder};
  if (fs::exists(folder / "variants")) {
    trained.clear();
    for (const auto& entry : fs::directory_iterator(folder / "variants")) trained.push_back(entry.path());
    const bool is_compared = std::find(overrides.begin(), overrides.end(), "~ablate") == overrides.end();
    CHECK(fs::exists(folder / "ablation/ablation.csv") == is_compared);
  }
  for (const fs::path& run : trained) CHECK(fs::exists(run / "samples/sample-0001.png"));
}

}  // namespace

TEST_CASE("Every pipeline runs on data like its own") {
  for (const auto& [name, overrides] : all_pipelines()) check_run(name, overrides, true);
}

TEST_CASE("Every run that a pipeline's comment names passes check; the paper's loss is one of them") {
  const std::string begin = "#   ./script/sdpipe run pipelines/";
  const std::set<std::string> with_paper_loss = {"celeba_blur", "celeba_mask", "cifar10_blur"};
  for (const auto& [name, overrides] : all_pipelines()) {
    const Workplace place;
    const Words data = stand_in_data(name, place);
    std::istringstream lines(read_file(pipeline(name)));
    std::vector<std::string> plans;
    for (std::string line; std::getline(lines, line);) {
      if (line.rfind(begin, 0) != 0) continue;
      Words words = {"check", pipeline(name)};
      std::istringstream rest(line.substr(begin.size()));
      std::string word;
      for (rest >> word; rest >> word;) words.push_back(word);
      words.insert(words.end(), data.begin(), data.end());
      const Outcome outcome = place.sdpipe(words);
      CAPTURE(line, outcome.err);
      CHECK(outcome.code == 0);
      const std::string of_500 = "warning: \"frechet\" of 500 samples is rough: 640 or more are advised\n";
      CHECK((outcome.err == "" || outcome.err == of_500));
      plans.push_back(outcome.out);
    }
    CAPTURE(name);
    REQUIRE(!plans.empty());
    if (!with_paper_loss.count(name)) continue;
    CHECK(contains(plans.at(0), ", loss at clean with weight inverse_sigma\n"));
    CHECK(contains(plans.at(1), ", loss at corrupted with weight inverse_variance\n"));
    CHECK(contains(plans.at(1), "run       " + name + "_paper -> "));
  }
}

TEST_CASE("celeba_blur goes on from its checkpoint to the very weights of a training in one go") {
  const Workplace place;
  stand_in_data("celeba_blur", place);
  const auto run = [&](const std::string& name, int images) {
    Words words = {"run",           pipeline("celeba_blur"), "run.name=" + name,
                   "run.threads=1", "sample.count=1",        "sample.steps=2"};
    words.insert(words.end(), small_ncsnpp.begin(), small_ncsnpp.end());
    words.insert(words.end(), {"train.images=" + std::to_string(images), "train.checkpoint_every_images=4"});
    const Outcome outcome = place.sdpipe(words);
    CAPTURE(outcome.err);
    REQUIRE(outcome.code == 0);
    return outcome.err;
  };
  run("in_one_go", 16);
  run("in_two", 8);
  CHECK(contains(run("in_two", 16), "continuing from runs/in_two/checkpoints/"));
  CHECK(contents(place / "runs/in_two/checkpoints") == contents(place / "runs/in_one_go/checkpoints"));
  const Outcome sampled = place.sdpipe({"sample", "runs/in_two", "sample.count=2", "sample.steps=2"});
  CHECK(sampled.code == 0);
}

TEST_CASE("where the paper's loss and the clean loss go on Fashion-MNIST, under the quickstart's schedule") {
  if (!fs::exists(fashion)) {
    WARN("skipped: " + fashion.string() + " is not there; package dataset-fashion-mnist brings it");
    return;
  }
  // Loss at t = 1, 0.75, 0.5, 0.25, 0.1, and the percentage of it that is hidden.
  const auto check_figures = [](const Words& overrides, const std::vector<double>& loss,
                                const std::vector<double>& hidden) {
    const Workplace place;
    Words words = {"check", pipeline("quickstart"), "--loss", "--quiet"};
    words.insert(words.end(), overrides.begin(), overrides.end());
    std::istringstream lines(place.sdpipe(words).out);
    size_t found = 0;
    for (std::string line; std::getline(lines, line);) {
      if (line.rfind("          t = ", 0) != 0) continue;
      std::istringstream numbers(line.substr(14));
      double t = 0, of_t = 0, percent = 0;
      numbers >> t >> of_t >> percent;
      CAPTURE(line);
      REQUIRE(found < loss.size());
      CHECK(of_t == Approx(loss[found]).epsilon(0.05));
      CHECK(percent == Approx(hidden[found]).epsilon(0.1));
      ++found;
    }
    CHECK(found == 5);
  };
  check_figures({"train.loss_at=corrupted", "train.weight=inverse_variance"}, {0.0085, 0.025, 0.089, 0.51, 0.96},
                {0.31, 1.1, 1.4, 1.4, 0});
  check_figures({}, {1.9, 2.3, 2.3, 0.79, 0.046}, {95, 92, 85, 33, 0});
}

TEST_CASE("quickstart and oracle run on Fashion-MNIST") {
  if (!fs::exists(fashion)) {
    WARN("skipped: " + fashion.string() + " is not there; package dataset-fashion-mnist brings it");
    return;
  }
  for (const std::string name : {"quickstart", "oracle"}) check_run(name, all_pipelines().at(name), false);
}

TEST_CASE("no pipeline is missing here") {
  std::set<std::string> there, run;
  for (const auto& entry : fs::directory_iterator(SDPIPE_SOURCE_DIR "/pipelines"))
    there.insert(entry.path().stem().string());
  for (const auto& [name, overrides] : all_pipelines()) run.insert(name);
  CHECK(there == run);
}
