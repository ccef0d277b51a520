// `sdpipe restore`, on a model that is fitted in a moment.
#include <fmt/format.h>

#include "core/base/json.hpp"
#include "core/data/images.hpp"
#include "core/training/checkpoint.hpp"
#include "core/training/safetensors.hpp"
#include "tests/cli/program.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const std::string fitted = R"([run]
threads = 1

[data]
type = "idx"
path = "data"

[corruption]
type = "heat_blur"
std_max = 2.0

[schedule]
type = "linear"

[noise]
type = "geometric"

[model]
type = "wiener"
source = "data"

[sampler]
type = "ddim"

[sample]
steps = 8
count = 4
)";

ByteImage slope(int64_t channels, int64_t side) {
  ByteImage image{{channels, side, side}, {}};
  for (int64_t i = 0; i < image.shape.elements(); ++i)
    image.pixels.push_back(static_cast<uint8_t>(90 + 6 * (i % side) + 5 * (i / side % side)));
  return image;
}

// A folder with the finished run runs/fit, test data, and pictures.
const Workplace& place() {
  static const Workplace workplace;
  static const bool done = [] {
    write_pictures(workplace / "later", 40, 8);
    fs::copy_file(workplace / "later/train-images-idx3-ubyte", workplace / "data/t10k-images-idx3-ubyte");
    write_file(workplace / "fit.toml", fitted);
    write_png(workplace / "a.png", slope(1, 8));
    write_png(workplace / "colour.png", slope(3, 8));
    write_png(workplace / "large.png", slope(1, 9));
    ByteImage hole = slope(1, 8);
    std::fill(hole.pixels.begin(), hole.pixels.end(), uint8_t{255});
    for (const size_t p : {27u, 28u, 35u, 36u, 44u}) hole.pixels[p] = 0;
    write_png(workplace / "hole.png", hole);
    const Outcome outcome = workplace.sdpipe({"run", "fit.toml"});
    if (outcome.code != 0) throw std::runtime_error(outcome.err);
    return true;
  }();
  (void)done;
  return workplace;
}

Words restore(const Words& more) {
  Words words = {"restore", "runs/fit", "--quiet"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

std::map<std::string, Json> results(const Words& more) {
  Words words = restore(more);
  words.push_back("--json");
  const Outcome outcome = place().sdpipe(words);
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  std::map<std::string, Json> found;
  const auto parsed = Json::parse(outcome.out);
  for (const auto& row : parsed["results"]) found[row["method"]] = row;
  return found;
}

void check_refusal(const Words& more, int code, const std::string& sentence) {
  const Outcome outcome = place().sdpipe(restore(more));
  CHECK(outcome.code == code);
  CHECK(outcome.out.empty());
  CHECK(outcome.err == "error: " + sentence + "\n");
}

}  // namespace

TEST_CASE("held-out images are corrupted, restored by every method, measured, and shown in a grid") {
  const Words words = {"--held-out", "20", "--level", "1", "--noise", "0.03", "-o", "table"};
  auto found = results(words);
  REQUIRE(found.size() == 6);
  for (const char* method : {"reverse", "projection", "guidance"}) {
    CAPTURE(method, found[method].dump(), found["observed"].dump());
    CHECK(found[method]["psnr"] > found["observed"]["psnr"]);
    CHECK(found[method]["ssim"] > found["observed"]["ssim"]);
    CHECK(found[method]["psnr"] > found["pseudo-inverse"]["psnr"]);
    CHECK(!found[method].contains("basis"));
  }
  CHECK(found["linear"]["psnr"] > found["pseudo-inverse"]["psnr"]);
  CHECK(found["linear"]["basis"] == "pixel");
  CHECK(found["linear"]["nfe"] == 0);
  CHECK(found["reverse"]["nfe"] == 8);
  CHECK(found["projection"]["nfe"] == 9);  // and one for the start
  CHECK(found["observed"]["nfe"] == 0);
  // 16 rows of clean, observed, pseudo-inverse, linear and three methods, 8 px and gaps of 2.
  CHECK(read_image(place() / "table/grid.png").shape == ImageShape{1, 16 * 10 - 2, 7 * 10 - 2});
  CHECK(results(words) == found);
  Words averaged = words;
  averaged.insert(averaged.end(), {"--average", "6"});
  auto mean = results(averaged);
  for (const char* method : {"projection", "guidance"}) CHECK(mean[method]["psnr"] > found[method]["psnr"]);
  CHECK(mean["projection"]["nfe"] == 6 * 9);
  CHECK(mean["observed"] == found["observed"]);
  CHECK(contents(place() / "table").size() == 1);
}

TEST_CASE("the size of the batches changes neither what is observed nor what is restored") {
  const Words words = {"--held-out", "20", "--level", "1", "--noise", "0.03", "--average", "2", "-o", "batches"};
  Words by_seven = words;
  by_seven.push_back("sample.batch=7");
  const auto found = results(words);
  for (const auto& [method, row] : results(by_seven)) {
    INFO(method);
    CHECK(row["psnr"].get<double>() == Approx(found.at(method)["psnr"].get<double>()).epsilon(1e-5));
    CHECK(row["ssim"].get<double>() == Approx(found.at(method)["ssim"].get<double>()).epsilon(1e-4));
    CHECK(row["nfe"] == found.at(method)["nfe"]);
  }
  // Masks by key: another image's key would hide other pixels.
  Words masked = {"--held-out",     "20",  "--corruption", "{ type = \"pixel_mask\" }",
                  "--level",        "0.5", "--method",     "projection",
                  "sample.steps=2", "-o",  "batches"};
  const auto whole = results(masked);
  masked.push_back("sample.batch=7");
  const auto parts = results(masked);
  CHECK(parts.at("observed") == whole.at("observed"));
  CHECK(parts.at("pseudo-inverse")["psnr"].get<double>() ==
        Approx(whole.at("pseudo-inverse")["psnr"].get<double>()).epsilon(1e-5));
}

TEST_CASE("pictures of an earlier restoration go, and others stay") {
  fs::create_directories(place() / "again");
  for (const char* name :
       {"reverse-0007.png", "projection-12345.png", "guidance-0000.png", "reverse-007.png", "my.png"})
    write_png(place() / "again" / name, slope(1, 8));
  const Outcome outcome =
      place().sdpipe(restore({"a.png", "--level", "0.5", "--method", "reverse", "-o", "again", "sample.steps=2"}));
  INFO(outcome.err);
  CHECK(outcome.code == 0);
  std::vector<std::string> names;
  for (const auto& [name, content] : contents(place() / "again")) names.push_back(name);
  CHECK(names == std::vector<std::string>{"grid.png", "my.png", "reverse-0000.png", "reverse-007.png"});
}

TEST_CASE("an override may be longer than a file's name") {
  std::string sampler = "sampler={ type = \"ddim\"";
  sampler.append(300, ' ').append("}");
  const Outcome outcome = place().sdpipe(restore({"a.png", "--level", "0.5", "--method", "reverse", sampler}));
  CHECK(outcome.err.empty());
  CHECK(outcome.code == 0);
}

TEST_CASE("a file whose corruption was random is refused, for its key is not known") {
  const std::string sentence =
      " is not known for a file: give --corruption with what was used, such as a mask's image, or --clean and a clean "
      "file";
  const Words masks = {"run", "fit.toml", "run.name=masks", "corruption={ type = \"pixel_mask\" }",
                       "+model.basis=\"pixel\""};
  REQUIRE(place().sdpipe(masks).code == 0);
  const auto by_masks = [](Words words) {
    words.insert(words.begin(), {"restore", "runs/masks", "--quiet", "--method", "projection", "sample.steps=2"});
    return place().sdpipe(words);
  };
  const Outcome own = by_masks({"a.png", "--level", "0.5"});
  CHECK(own.code == 2);
  CHECK(own.err == "error: what is random in pixel_mask" + sentence + "\n");
  CHECK(by_masks({"a.png", "--level", "0"}).code == 0);
  CHECK(by_masks({"a.png", "--level", "0.5", "--clean"}).code == 0);
  CHECK(by_masks({"a.png", "--corruption", "{ type = \"mask\", image = \"hole.png\" }"}).code == 0);
  check_refusal({"a.png", "--corruption", "{ type = \"box_mask\", place = \"key\" }", "--level", "0.5"}, 2,
                "what is random in { type = \"box_mask\", place = \"key\" }" + sentence);
  CHECK(place()
            .sdpipe(restore({"a.png", "--corruption", "{ type = \"box_mask\", place = \"point\", x = 0.5, y = 0.5 }",
                             "--level", "0.5", "sample.steps=2"}))
            .code == 0);
}

TEST_CASE("the table for people has the numbers of the JSON") {
  const Words words = {"--held-out", "3", "--level", "1", "--noise", "0.03", "--method", "reverse"};
  const auto found = results(words);
  const Outcome outcome = place().sdpipe(restore(words));
  CHECK(outcome.err.empty());
  std::string table;
  for (const auto& [method, label] :
       std::vector<std::pair<std::string, std::string>>{{"observed", "observed"},
                                                        {"pseudo-inverse", "pseudo-inverse"},
                                                        {"linear", "linear (LMMSE, pixel)"},
                                                        {"reverse", "reverse"}}) {
    const auto& row = found.at(method);
    table += fmt::format("{:<25}{:>10.2f}{:>9.4f}{:>7}\n", label, row["psnr"].get<double>(), row["ssim"].get<double>(),
                         row["nfe"].get<int>());
  }
  CHECK(outcome.out ==
        "3 of 40 images of 1 x 8 x 8 from \"data/t10k-images-idx3-ubyte\" (idx)\n"
        "under heat_blur, level 1 px, noise 0.03\n\n"
        "                          PSNR (dB)     SSIM    NFE\n" +
            table + "\n" + (fs::canonical(place() / "runs/fit") / "restored/grid.png").string() + "\n");
}

TEST_CASE("files are restored as they are, colour made grey") {
  const Outcome outcome =
      place().sdpipe(restore({"a.png", "colour.png", "--level", "0.5", "-o", "files", "sample.steps=3"}));
  INFO(outcome.err);
  CHECK(outcome.code == 0);
  CHECK(outcome.out == "2 images\nunder heat_blur, level 0.5 px, noise 0.002264\nfiles/grid.png\n");
  std::vector<std::string> names;
  for (const auto& [name, content] : contents(place() / "files")) names.push_back(name);
  CHECK(names == std::vector<std::string>{"grid.png", "guidance-0000.png", "guidance-0001.png", "projection-0000.png",
                                          "projection-0001.png", "reverse-0000.png", "reverse-0001.png"});
  CHECK(read_image(place() / "files/reverse-0000.png").shape == ImageShape{1, 8, 8});
  CHECK(read_image(place() / "files/grid.png").shape == ImageShape{1, 2 * 10 - 2, 6 * 10 - 2});
}

TEST_CASE("a model of blurs fills the user's own mask, and other corruptions") {
  const auto hole = results({"a.png", "--clean", "--corruption", "{ type = \"mask\", image = \"hole.png\" }"});
  CHECK(hole.count("reverse") == 0);
  CHECK(hole.at("projection")["psnr"] > hole.at("observed")["psnr"].get<double>() + 3);
  CHECK(hole.at("guidance")["psnr"] > hole.at("observed")["psnr"].get<double>() + 3);
  const auto small = results({"a.png", "--clean", "--corruption", "{ type = \"downsample\", factor = 2 }"});
  CHECK(small.at("projection")["psnr"] > small.at("observed")["psnr"]);
  CHECK(small.at("bicubic")["psnr"] > small.at("observed")["psnr"]);
  CHECK(small.at("bicubic")["nfe"] == 0);
  CHECK(hole.count("bicubic") == 0);
  const auto both = results({"a.png", "--clean", "--noise", "0.02", "--corruption",
                             "[{ type = \"downsample\", factor = 2 }, { type = \"mask\", image = \"hole.png\" }]"});
  CHECK(both.at("projection")["psnr"] > both.at("observed")["psnr"]);
  CHECK(both.count("bicubic") == 0);
}

TEST_CASE("the enlarged block means of downsample are a row of their own, at its largest level") {
  const Words small = {"a.png",         "--clean", "--corruption", "{ type = \"downsample\", factor = 2 }",
                       "--noise",       "0",       "--method",     "projection",
                       "sample.steps=2"};
  Words half = small;
  half.insert(half.end(), {"--level", "0.5"});
  CHECK(results(small).count("bicubic") == 1);
  CHECK(results(half).count("bicubic") == 0);
  // A slope is a slope again, but where the filter meets the edge and where bytes round.
  CHECK(results(small).at("bicubic")["psnr"] > 35);
}

namespace {

// The run fit, whose checkpoint holds of its clean images what `kept` says, and nothing else.
std::string run_that_keeps(const std::string& name, const std::vector<std::string>& kept) {
  const fs::path run = place() / ("runs/" + name);
  fs::copy(place() / "runs/fit", run, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  StoredCheckpoint stored = checkpoint_of_run(run);
  const std::string whole = stored.files.at("process.safetensors");
  SafetensorsFile process = read_safetensors(whole, "process.safetensors");
  std::erase_if(process.tensors, [&](const StoredTensor& tensor) {
    return tensor.name.starts_with("prior.clean_") && std::find(kept.begin(), kept.end(), tensor.name) == kept.end();
  });
  stored.files["process.safetensors"] = write_safetensors(process.tensors, process.metadata);
  CheckpointStore(run / "checkpoints").save(1, stored.files, 1);
  return "runs/" + name;
}

}  // namespace

TEST_CASE("the linear row names the covariance that it stands on, and is left out where the checkpoint has none") {
  const auto restored = [](const std::string& run) {
    return place().sdpipe({"restore", run, "--held-out", "3", "--level", "1", "--method", "reverse", "sample.steps=2"});
  };
  const Outcome low_rank = restored(run_that_keeps(
      "low_rank", {"prior.clean_low_rank", "prior.clean_residual_variance", "prior.clean_dct_variance"}));
  CHECK(contains(low_rank.out, "\nlinear (LMMSE, low_rank) "));
  CHECK(contains(restored(run_that_keeps("dct", {"prior.clean_dct_variance"})).out, "\nlinear (LMMSE, dct) "));
  const Outcome none = restored(run_that_keeps("old", {}));
  CHECK(none.code == 0);
  CHECK(!contains(none.out, "linear"));
  CHECK(contains(none.out, "\npseudo-inverse "));
  CHECK(contains(none.err,
                 "the row \"linear\" is left out: it needs the covariance of the clean images, which this checkpoint "
                 "does not hold, because an earlier version wrote it\n"));
}

TEST_CASE("beyond the end of a run's path there is nothing to reverse, and the other methods go on") {
  const Words vp = {
      "run",           "fit.toml",
      "run.name=ends", "corruption={ type = \"scale\" }",
      "~noise",        "schedule={ type = \"vp\", path = \"linear_beta\", beta_min = 0.1, beta_max = 0.1 }"};
  REQUIRE(place().sdpipe(vp).code == 0);  // level(1) = 1 - exp(-0.05) = 0.0487706
  const auto outcome_of = [](Words words) {
    words.insert(words.begin(),
                 {"restore", "runs/ends", "--held-out", "2", "--noise", "0.01", "--quiet", "--json", "sample.steps=2"});
    return place().sdpipe(words);
  };
  const auto methods_of = [](const std::string& json) {
    std::vector<std::string> names;
    const Json whole = Json::parse(json);
    for (const auto& row : whole["results"]) names.push_back(row["method"]);
    return names;
  };
  const Outcome within = outcome_of({});
  CHECK(within.err.empty());
  CHECK(Json::parse(within.out)["level"].get<double>() == Approx((1 - std::exp(-0.05)) / 2));
  CHECK(methods_of(within.out) ==
        std::vector<std::string>{"observed", "pseudo-inverse", "linear", "reverse", "projection", "guidance"});
  const Outcome beyond = outcome_of({"--level", "0.5"});
  CHECK(beyond.code == 0);
  CHECK(beyond.err ==
        "warning: --level 0.5 is beyond level 0.0487706, where the run's path ends: method reverse is left out\n");
  CHECK(methods_of(beyond.out) ==
        std::vector<std::string>{"observed", "pseudo-inverse", "linear", "projection", "guidance"});
  const Outcome asked = outcome_of({"--level", "0.5", "--method", "reverse"});
  CHECK(asked.code == 2);
  CHECK(asked.err ==
        "error: --level 0.5 is beyond level 0.0487706, where the run's path ends, and method reverse begins on it: use "
        "projection or guidance\n");
}

TEST_CASE("at level 0 and without noise nothing is wrong with a picture") {
  const auto found = results({"a.png", "--clean", "--level", "0", "--noise", "0"});
  CHECK(found.at("observed")["psnr"].is_null());  // infinite
  CHECK(found.at("observed")["ssim"] == Approx(1));
  CHECK(found.at("pseudo-inverse")["psnr"].is_null());
}

TEST_CASE("an observation noisier than the path is restored with a warning") {
  const Outcome outcome = place().sdpipe(restore({"a.png", "--level", "1", "--noise", "0.5", "--method", "reverse"}));
  CHECK(outcome.code == 0);
  CHECK(outcome.err ==
        "warning: the observation has noise 0.5, but the run's path has 0.1 at level 1 px: method reverse takes the "
        "rest for a part of the image\n");
}

TEST_CASE("what cannot be restored is refused in a sentence") {
  const std::string known = "; known: reverse, projection, guidance";
  check_refusal({"a.png", "--level", "1", "--method", "projectoin"}, 2,
                "no restoration method named \"projectoin\"; did you mean \"projection\"?" + known);
  check_refusal({"a.png", "--level", "1", "--method", "magic"}, 2, "no restoration method named \"magic\"" + known);
  check_refusal({"a.png"}, 2, "at which level are the images corrupted? Give --level, from 0 to 2 px");
  check_refusal({"a.png", "--level", "3"}, 2, "--level 3 is not within 0 to 2 px, the levels of this corruption");
  check_refusal({"a.png", "--level", "1", "--noise", "-1"}, 2, "--noise -1 must be finite and not negative");
  check_refusal({"a.png", "--level", "1", "--strength", "-1"}, 2, "--strength -1 must be finite and not negative");
  check_refusal({"a.png", "--level", "nan"}, 2, "--level nan is not within 0 to 2 px, the levels of this corruption");
  check_refusal({"a.png", "--level", "1", "--noise", "inf"}, 2, "--noise inf must be finite and not negative");
  check_refusal({"a.png", "--level", "1", "--strength", "inf"}, 2, "--strength inf must be finite and not negative");
  check_refusal({"a.png", "--level", "1", "--average", "0"}, 2, "--average 0 must be at least 1");
  check_refusal({}, 2, "what shall be restored? Give image files, or --held-out N");
  check_refusal({"a.png", "--held-out", "3"}, 2, "give image files or --held-out, not both");
  check_refusal({"--clean", "--held-out", "3"}, 2,
                "--clean is for image files: held-out images are clean by themselves");
  check_refusal({"a.png", "--method", "reverse", "--corruption", "{ type = \"downsample\" }"}, 2,
                "method \"reverse\" undoes the run's own corruption, and --corruption is another: use projection or "
                "guidance");
  check_refusal({"large.png", "--level", "1"}, 4,
                "\"large.png\" is 1 x 9 x 9, but the run's images are 1 x 8 x 8 (channels x height x width)");
  check_refusal({"again/grid.png", "--level", "1", "-o", "again"}, 2,
                "again/grid.png would be replaced by the result; name another folder with -o");
  check_refusal({"a.png", "--level", "1", "-o", "a.png"}, 5, "a.png: Not a directory");
  check_refusal({"none.png", "--level", "1"}, 4, "\"none.png\" cannot be read: No such file or directory");
  check_refusal({"--held-out", "41"}, 4,
                "--held-out 41: there are 40 images of 1 x 8 x 8 from \"data/t10k-images-idx3-ubyte\" (idx)");
  check_refusal(
      {"a.png", "--level", "1", "data.limit=3"}, 2,
      "data.limit cannot be changed after training; here only [sampler], [sample], run.threads and run.device can");
}

TEST_CASE("a corruption on the command line is checked like one in a file") {
  const Outcome outcome = place().sdpipe(restore({"a.png", "--corruption", "{ type = \"downsample\", factr = 2 }"}));
  CHECK(outcome.code == 2);
  CHECK(outcome.err ==
        "error: <--corruption>:1:24: table \"downsample\": unknown parameter \"factr\"; did you mean \"factor\"?\n"
        "  1 | { type = \"downsample\", factr = 2 }\n"
        "    |                        ^\n\n"
        "1 problem in --corruption\n");
}

TEST_CASE("a run without held-out images says how to have some") {
  const Workplace own;
  fs::create_directories(own / "pictures");
  for (int i = 0; i < 8; ++i) write_png(own / fmt::format("pictures/{}.png", i), slope(1, 8));
  std::string text = fitted;
  text.replace(text.find("type = \"idx\"\npath = \"data\""), 26, "type = \"folder\"\npath = \"pictures\"");
  write_file(own / "all.toml", text);
  REQUIRE(own.sdpipe({"run", "all.toml", "sample.prior=noise"}).code == 0);  // eight pictures are too few for a mixture
  const Outcome all = own.sdpipe({"restore", "runs/all", "--held-out", "2"});
  CHECK(all.code == 4);
  CHECK(all.err ==
        "error: the run holds no images out: it was trained on all of \"pictures\"; train with data.held_out = N, or "
        "restore other files with --clean\n");
  REQUIRE(own.sdpipe({"run", "all.toml", "sample.prior=noise", "+data.held_out=3", "run.name=some"}).code == 0);
  const Outcome some = own.sdpipe({"restore", "runs/some", "--held-out", "3", "--quiet"});
  CHECK(some.code == 0);
  CHECK(contains(some.out, "3 of 3 images of 1 x 8 x 8 from \"pictures\" (folder, the part held out)\n"));
  for (int i = 0; i < 8; ++i) {
    ByteImage other = slope(1, 8);
    other.pixels[0] = 0;
    write_png(own / fmt::format("pictures/{}.png", i), other);
  }
  const Outcome changed = own.sdpipe({"restore", "runs/some", "--held-out", "3"});
  CHECK(changed.code == 4);
  CHECK(changed.err ==
        "error: the data is not what " + fs::canonical(own / "runs/some").string() +
            " began with (then: 5 images of 1 x 8 x 8 from \"pictures\" (folder, 3 held out)); put it back, or move "
            "the run aside with `sdpipe run --fresh`\n");
  REQUIRE(own.sdpipe({"run", "tiny.toml", "data.path=data/train-images-idx3-ubyte", "run.name=file", "~train",
                      "model={type=\"wiener\"}"})
              .code == 0);
  const Outcome file = own.sdpipe({"restore", "runs/file", "--held-out", "3"});
  CHECK(file.code == 4);
  CHECK(file.err ==
        "error: data.path = \"data/train-images-idx3-ubyte\" is one file, and which the held-out images are is not "
        "known; train with the folder that holds it, or restore files with --clean\n");
}
