// What `sdpipe weights` says and refuses, on runs of our own.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/training/safetensors.hpp"
#include "tests/cli/program.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

// A folder with the finished run runs/tiny.
const Workplace& place() {
  static const Workplace workplace;
  static const bool done = [] {
    const Outcome outcome = workplace.sdpipe({"run", "tiny.toml", "train.images=32"});
    if (outcome.code != 0) throw std::runtime_error(outcome.err);
    return true;
  }();
  (void)done;
  return workplace;
}

Outcome weights(Words words) {
  words.insert(words.begin(), "weights");
  return place().sdpipe(words);
}

void succeed(const Outcome& outcome) {
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
}

void check_refusal(const Words& words, int code, const std::string& sentence) {
  const Outcome outcome = weights(words);
  CHECK(outcome.code == code);
  CHECK(outcome.out.empty());
  CHECK(outcome.err == "error: " + sentence + "\n");
}

// A file's data without its header, which holds the metadata.
std::string data_of(const fs::path& file) {
  const std::string content = read_file(file);
  std::string data;
  for (const StoredTensor& t : read_safetensors(content, file.string()).tensors) data += t.bytes;
  return data;
}

fs::path checkpoint(const std::string& run, const std::string& images) {
  return place() / "runs" / run / "checkpoints" / images;
}

}  // namespace

TEST_CASE("a run gives its averaged weights, or with --raw those as trained, and takes both back") {
  const std::string ema = data_of(checkpoint("tiny", "000000032") / "ema.safetensors"),
                    raw = data_of(checkpoint("tiny", "000000032") / "model.safetensors");
  REQUIRE(ema != raw);
  const Outcome exported = weights({"export", "runs/tiny", "ema.safetensors"});
  succeed(exported);
  CHECK(exported.out == "ema.safetensors\n");
  CHECK(contains(exported.err, "/000000032: a checkpoint, its averaged weights (EMA), "));
  succeed(weights({"export", "runs/tiny/checkpoints/000000032", "raw.safetensors", "--raw"}));
  CHECK(data_of(place() / "ema.safetensors") == ema);
  CHECK(data_of(place() / "raw.safetensors") == raw);
  const auto taken = [](const std::string& name, Words words) {
    words.insert(words.begin(), {"import", "tiny.toml"});
    words.push_back("run.name=" + name);
    succeed(weights(words));
    CHECK(data_of(checkpoint(name, "000000000") / "ema.safetensors") ==
          data_of(checkpoint(name, "000000000") / "model.safetensors"));
    return data_of(checkpoint(name, "000000000") / "model.safetensors");
  };
  CHECK(taken("of_file", {"raw.safetensors"}) == raw);
  CHECK(taken("of_run", {"runs/tiny"}) == ema);
  CHECK(taken("of_raw", {"runs/tiny", "--raw"}) == raw);
  CHECK(taken("of_checkpoint", {"runs/tiny/checkpoints/000000032", "corruption={type=\"scale\"}"}) == ema);
}

TEST_CASE("an imported run is trained as its own, every time alike") {
  for (const char* name : {"one", "two"}) {
    const std::string own = fmt::format("run.name={}", name);
    const Words changes = {own, "corruption={type=\"scale\"}", "train.images=16", "run.seed=3"};
    Words in = {"weights", "import", "tiny.toml", "runs/tiny"}, on = {"run", "tiny.toml"};
    in.insert(in.end(), changes.begin(), changes.end());
    on.insert(on.end(), changes.begin(), changes.end());
    succeed(place().sdpipe(in));
    succeed(place().sdpipe(on));
  }
  CHECK(contents(checkpoint("one", "000000016")) == contents(checkpoint("two", "000000016")));
  const Outcome other = place().sdpipe({"run", "tiny.toml", "run.name=one"});
  CHECK(other.code == 2);  // another corruption than the import's
  CHECK(contains(other.err, "runs/one holds another run"));
}

TEST_CASE("every variant begins with the weights") {
  write_file(place() / "pair.toml", small_pipeline +
                                        "\n[[variant]]\nname = \"a\"\n\n[[variant]]\nname = \"b\"\n"
                                        "corruption = { type = \"scale\" }\n");
  const Outcome outcome = weights({"import", "pair.toml", "runs/tiny", "run.name=pair"});
  succeed(outcome);
  CHECK(outcome.out == "runs/pair\n");
  for (const char* name : {"pair/variants/a", "pair/variants/b"}) {
    CHECK(data_of(checkpoint(name, "000000000") / "ema.safetensors") ==
          data_of(checkpoint("tiny", "000000032") / "ema.safetensors"));
  }
  // The same run still: what differs is one key of every variant.
  const Outcome trained = place().sdpipe({"run", "pair.toml", "run.name=pair", "train.batch=4"});
  CHECK(trained.code == 2);
  CHECK(contains(trained.err, "runs/pair/variants/a holds another run: train.batch differs"));
}

TEST_CASE("weights trained with another [model] are taken with a warning") {
  const std::string warning = "the weights were trained with another [model]: there groups = 4\n";
  const Outcome outcome = weights({"import", "tiny.toml", "runs/tiny", "run.name=four", "model.groups=2"});
  succeed(outcome);
  CHECK(contains(outcome.err, "warning: " + warning));
  write_file(place() / "groups.toml", small_pipeline +
                                          "\n[[variant]]\nname = \"a\"\n\n[[variant]]\nname = \"b\"\n"
                                          "model.groups = 2\n");
  const Outcome variants = weights({"import", "groups.toml", "runs/tiny", "run.name=groups"});
  succeed(variants);
  CHECK(contains(variants.err, "warning: variant b: " + warning));
  CHECK_FALSE(contains(variants.err, "variant a"));
}

TEST_CASE("an import that fails in its last variant leaves nothing of itself, and the run before it in place") {
  write_file(place() / "half.toml", small_pipeline +
                                        "\n[[variant]]\nname = \"a\"\n\n[[variant]]\nname = \"b\"\n"
                                        "sample.spacing = \"log_sigma\"\n");
  const auto fails = [](Words words) {
    words.insert(words.begin(), {"import", "half.toml", "runs/tiny", "run.name=half"});
    const Outcome outcome = weights(words);
    CHECK(outcome.code == 1);
    CHECK(outcome.out.empty());
    CHECK(contains(outcome.err,
                   "error: sample.spacing = \"log_sigma\" needs a sigma(t) that rises strictly from above 0; use "
                   "spacing = \"uniform\"\n"));
    CHECK_FALSE(contains(outcome.err, "the old run"));
    CHECK_FALSE(fs::exists(place() / "runs/.half.importing"));
  };
  fails({});
  CHECK_FALSE(fs::exists(place() / "runs/half"));
  fs::create_directories(place() / "runs/.half.importing/variants/b");  // as an import that was killed leaves it
  succeed(weights({"import", "tiny.toml", "runs/tiny", "run.name=half"}));
  CHECK_FALSE(fs::exists(place() / "runs/half/variants"));
  const auto before = contents(place() / "runs/half");
  fails({"--fresh"});
  CHECK(contents(place() / "runs/half") == before);
  CHECK_FALSE(fs::exists(place() / "runs/half.1"));
}

TEST_CASE("the run of a checkpoint is found however it is named, and where there is none a warning says so") {
  const std::string folder = "runs/tiny/checkpoints/000000032/";
  const Outcome named = weights({"import", "tiny.toml", folder, "run.name=named"});
  succeed(named);
  CHECK_FALSE(contains(named.err, "warning"));
  const Outcome info = weights({"info", "runs/named/checkpoints/000000000/"});
  succeed(info);
  CHECK(contains(info.out, "begun with " + folder + "\n"));
  fs::create_directories(place() / "kept/here");
  fs::copy(checkpoint("tiny", "000000032"), place() / "kept/here/alone");
  const Outcome alone = weights({"import", "tiny.toml", "kept/here/alone", "run.name=alone"});
  succeed(alone);
  CHECK(contains(alone.err,
                 "warning: which [model] the weights were trained with is not known, and so not compared: cannot read "
                 "the pipeline file: " +
                     fs::canonical(place() / "kept").string() + "/resolved.toml: No such file or directory\n"));
  CHECK(data_of(checkpoint("alone", "000000000") / "ema.safetensors") ==
        data_of(checkpoint("named", "000000000") / "ema.safetensors"));
}

TEST_CASE("a table that sdpipe did not write is metadata like any other") {
  const std::string data(4, '\0');
  write_file(place() / "foreign.safetensors", write_safetensors({{"a", "F32", {1}, data}}, {{"model", "resnet"}}));
  CHECK(weights({"info", "foreign.safetensors"}).out ==
        "foreign.safetensors: a safetensors file\n"
        "names      of no network that is known here\n"
        "tensors    1 with 1 numbers, 4 bytes, F32\n"
        "metadata   model = resnet\n\n"
        "a  F32  [1]\n");
}

TEST_CASE("nothing is replaced unasked") {
  const std::string there = " is there already; --force replaces it";
  write_file(place() / "mine.safetensors", "mine");
  check_refusal({"export", "runs/tiny", "mine.safetensors"}, 2, "mine.safetensors" + there);
  CHECK(read_file(place() / "mine.safetensors") == "mine");
  succeed(weights({"export", "runs/tiny", "mine.safetensors", "--force"}));
  CHECK(read_file(place() / "mine.safetensors").size() > 1000);
  check_refusal({"export", "runs/tiny", "runs"}, 2, "runs is a folder; name a file in it, or give --format diffusers");
  check_refusal({"export", "runs/tiny", "x", "--format", "diffusers"}, 2,
                "model \"unet\" does not have the names of diffusers' networks; leave --format out");
  check_refusal({"export", "runs/tiny", "x", "--format", "onnx"}, 2,
                "--format must be safetensors or diffusers, not onnx");
  const std::string before = data_of(checkpoint("tiny", "000000032") / "ema.safetensors");
  check_refusal(
      {"import", "tiny.toml", "runs/tiny"}, 2,
      "runs/tiny holds a run already; give this one another name with run.name=..., or --fresh to move the old "
      "one aside");
  succeed(weights({"import", "tiny.toml", "runs/tiny", "run.name=fresh"}));
  const Outcome fresh = weights({"import", "tiny.toml", "runs/fresh", "run.name=fresh", "--fresh"});
  succeed(fresh);
  CHECK(contains(fresh.err, "the old run is now runs/fresh.1\n"));
  CHECK(data_of(checkpoint("fresh", "000000000") / "ema.safetensors") == before);
}

TEST_CASE("pickles are never read, and what is no weights is said") {
  const auto line = [](const std::string& file) {
    return file +
           ".pth is a pickle, a program that could do anything, and never read; write it as safetensors in Python:\n"
           "  import torch; from safetensors.torch import save_file\n"
           "  save_file(torch.load(\"" +
           file + ".pth\", map_location=\"cpu\"), \"" + file +
           ".safetensors\")\nThat is for a plain table of tensors; docs/weights.md has the lines for checkpoints of "
           "score_sde";
  };
  write_file(place() / "zip.pth", "PK\x03\x04 and more");
  write_file(place() / "old.pth", "\x80\x02}q");
  check_refusal({"info", "zip.pth"}, 2, line("zip"));
  check_refusal({"import", "tiny.toml", "old.pth", "run.name=none"}, 2, line("old"));
  fs::create_directories(place() / "bin");
  write_file(place() / "bin/config.json", "{}");
  check_refusal({"info", "bin"}, 2, "bin has no diffusion_pytorch_model.safetensors");
  write_file(place() / "bin/diffusion_pytorch_model.bin", "PK\x03\x04");
  CHECK(contains(weights({"info", "bin"}).err, "bin/diffusion_pytorch_model.bin is a pickle"));
  check_refusal({"info", "nothing"}, 2, "nothing is not there");
  check_refusal({"info", "data"}, 2,
                "data is neither a run's folder (with resolved.toml in it), nor a checkpoint of one, nor a folder of "
                "diffusers' (with config.json)");
  write_file(place() / "short.safetensors", "?");
  check_refusal(
      {"info", "short.safetensors"}, 5,
      "short.safetensors: not a valid safetensors file: it is shorter than the 8 bytes of the header's length");
  check_refusal({"info", "tiny.toml", "--raw"}, 2,
                "--raw chooses between the weights of a run, which tiny.toml is not");
  check_refusal({"info"}, 2, "place is required\nRun `sdpipe weights info --help` for what there is.");
  CHECK(weights({"import", "tiny.toml", "runs/tiny", "model={type=\"wiener\"}", "~train", "run.name=none"}).err ==
        "error: model \"wiener\" is fitted to the data and takes no weights\n");
  CHECK_FALSE(fs::exists(place() / "runs/none"));
}

TEST_CASE("a header whose length looks like a pickle's first bytes is still a header") {
  // 0x0280 = 640 bytes of header: 0x80 0x02 is how a pickle of protocol 2 begins.
  std::string header = "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}";
  header.resize(640, ' ');
  write_file(place() / "lucky.safetensors", std::string("\x80\x02\0\0\0\0\0\0", 8) + header + std::string(4, '\0'));
  const Outcome outcome = weights({"info", "lucky.safetensors"});
  INFO(outcome.err);
  CHECK(outcome.out ==
        "lucky.safetensors: a safetensors file\n"
        "names      of no network that is known here\n"
        "tensors    1 with 1 numbers, 4 bytes, F32\n\n"
        "a  F32  [1]\n");
}

TEST_CASE("info says what an exported file holds, as text and as JSON") {
  succeed(weights({"export", "runs/tiny", "told.safetensors"}));
  const Outcome text = weights({"info", "told.safetensors"});
  succeed(text);
  for (const char* line : {"told.safetensors: a safetensors file\n", "metadata   images = 32\n",
                           "metadata   weights = averaged\n", "\n[model]\ntype = \"unet\"\n", "\nchannels = 8\n"}) {
    CAPTURE(line, text.out);
    CHECK(contains(text.out, line));
  }
  const auto json = nlohmann::json::parse(weights({"info", "told.safetensors", "--json"}).out);
  CHECK(json["numbers"] == 9153);
  CHECK(json["bytes"] == 4 * 9153);
  CHECK(json["metadata"]["format"] == "pt");
  const auto run = nlohmann::json::parse(weights({"info", "runs/tiny", "--raw", "--json"}).out);
  CHECK(run["tensors"] == json["tensors"]);
  CHECK(run["what"] == "a checkpoint, its weights as trained");
  CHECK(run["state"]["images"] == 32);
  // A [model] table as it stands there makes the same network.
  std::string own = small_pipeline;
  own.replace(own.find("[model]"), own.find("[train]") - own.find("[model]"), json["model"].get<std::string>() + "\n");
  write_file(place() / "own.toml", own);
  const Outcome again = weights({"import", "own.toml", "told.safetensors", "run.name=own"});
  CHECK(again.code == 0);
  CHECK_FALSE(contains(again.err, "warning"));
}

TEST_CASE("weights go neither into nor out of a run whose network says anything but x0_hat - x_t") {
  check_refusal(
      {"import", "tiny.toml", "runs/tiny", "run.name=other", "train.parametrisation=scaled"}, 2,
      "<command line>#2:1:23: imported weights predict x0_hat - x_t, which train.parametrisation = \"scaled\" "
      "would take for something else; leave it at \"residual\"\n  1 | train.parametrisation=scaled\n    |       "
      "                ^");
  CHECK_FALSE(fs::exists(place() / "runs/other"));
  succeed(place().sdpipe({"run", "tiny.toml", "run.name=scaled", "train.images=32", "train.parametrisation=scaled"}));
  const Outcome out = weights({"export", "runs/scaled", "scaled.safetensors"});
  CHECK(out.code == 2);
  CHECK(contains(out.err,
                 "runs/scaled was trained with train.parametrisation = \"scaled\": its weights do not predict "
                 "x0_hat - x_t, and mean nothing without the run; sample from the run itself\n"));
  CHECK_FALSE(fs::exists(place() / "scaled.safetensors"));
  const Outcome in = weights({"import", "tiny.toml", "runs/scaled", "run.name=other"});
  CHECK(in.code == 2);
  CHECK(contains(in.err,
                 "was trained with train.parametrisation = \"scaled\", whose numbers are not imported with the "
                 "weights; import from a run with \"residual\"\n"));
  CHECK_FALSE(fs::exists(place() / "runs/other"));
}
