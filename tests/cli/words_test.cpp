// What the program says: exit codes, whole sentences, and the verbs that change nothing.
#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/cli/program.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const Workplace& place() {
  static const Workplace workplace;
  return workplace;
}

// Nothing on stdout, this code, and this on stderr.
void check_refusal(const Words& words, int code, const std::string& sentence) {
  const Outcome outcome = place().sdpipe(words);
  CHECK(outcome.code == code);
  CHECK(outcome.out.empty());
  CHECK(outcome.err == "error: " + sentence + "\n");
}

}  // namespace

TEST_CASE("mistyped verbs, options and plugins are answered with the nearest one") {
  const std::string verbs = "run, check, sample, restore, ablate, schedule, plugins, data, weights, doctor";
  check_refusal({"rnu", "tiny.toml"}, 2, "unknown verb \"rnu\"; did you mean \"run\"?; known: " + verbs);
  check_refusal({"--runs", "elsewhere", "smaple"}, 2,
                "unknown verb \"smaple\"; did you mean \"sample\"?; known: " + verbs);
  check_refusal({"frobnicate"}, 2, "unknown verb \"frobnicate\"; known: " + verbs);
  check_refusal({"plugins", "lst"}, 2, "unknown verb \"lst\"; did you mean \"list\"?; known: list, show, check");
  check_refusal({"run", "tiny.toml", "--frehs"}, 2, "unknown option --frehs; did you mean \"--fresh\"?");
  check_refusal({"run", "tiny.toml", "--quite"}, 2, "unknown option --quite; did you mean \"--quiet\"?");
  check_refusal({"plugins", "show", "unett"}, 2,
                "no plugin named \"unett\"; did you mean \"unet\"?; `sdpipe plugins list` shows all");
  check_refusal({"--color", "sometimes", "doctor"}, 2,
                "--color: must be auto, always or never, not sometimes\nRun `sdpipe doctor --help` for what there is.");
  check_refusal({"run"}, 2, "file is required\nRun `sdpipe run --help` for what there is.");
}

TEST_CASE("a bad pipeline exits with 2, says all that is wrong, and creates nothing") {
  const Workplace own;
  const Outcome outcome = own.sdpipe({"run", "tiny.toml", "+corruption.std_mx=1", "train.batch=0"});
  CHECK(outcome.code == 2);
  CHECK(contains(outcome.err, "<command line>#1:1:"));
  CHECK(contains(outcome.err, "table \"heat_blur\": unknown parameter \"std_mx\"; did you mean \"std_max\"?"));
  CHECK(contains(outcome.err, "<command line>#2:1:"));
  CHECK(contains(outcome.err, "2 problems in tiny.toml\n"));
  CHECK(own.sdpipe({"run", "none.toml"}).code == 2);
  CHECK_FALSE(fs::exists(own / "runs"));
}

TEST_CASE("clamp under a loss that leaves a part free is warned of, with its place, and hinders nothing") {
  const Words clamped = {"train.loss_at=corrupted", "sample.clamp=true"};
  const std::string expected =
      "warning: <command line>#2:1:14: sample.clamp = true with train.loss_at = \"corrupted\": clamp changes what the "
      "loss left free into what the sampler uses; set sample.clamp = false\n  1 | sample.clamp=true\n    |             "
      " "
      "^\n";
  const Outcome outcome = place().sdpipe({"check", "tiny.toml", clamped[0], clamped[1]});
  CHECK(outcome.code == 0);
  CHECK(outcome.err == expected);
  CHECK(contains(outcome.out, "loss at corrupted"));
  CHECK(place().sdpipe({"check", "tiny.toml", "sample.clamp=true"}).err == "");
  CHECK(place().sdpipe({"check", "tiny.toml", clamped[0]}).err == "");
  const Workplace own;
  const Outcome ran = own.sdpipe({"run", "tiny.toml", "--quiet", clamped[0], clamped[1], "train.images=8"});
  CHECK(ran.code == 0);
  CHECK(ran.err == expected);
  const Outcome drawn = own.sdpipe({"sample", "runs/tiny", "--quiet", "sample.count=2"});
  CHECK(drawn.code == 0);
  CHECK(contains(drawn.err, "resolved.toml:"));
  CHECK(contains(drawn.err, ": sample.clamp = true with train.loss_at = \"corrupted\": clamp changes what"));
  CHECK(own.sdpipe({"sample", "runs/tiny", "--quiet", "sample.count=2", "sample.clamp=false"}).err == "");
}

TEST_CASE("a parameter that its plugin refuses is placed in the file") {
  const Outcome outcome = place().sdpipe({"check", "tiny.toml", "model.groups=3"});
  CHECK(outcome.code == 2);
  CHECK(contains(outcome.err, "<command line>#1:1:14: plugin \"unet\""));
  CHECK(contains(outcome.err, "is not divisible by 3 groups"));
}

TEST_CASE("a plugin that cannot be loaded exits with 3, missing data with 4, no run with 5") {
  const Outcome plugin = place().sdpipe({"--plugin", "none.sdp.so", "run", "tiny.toml"});
  CHECK(plugin.code == 3);
  CHECK(contains(plugin.err, "none.sdp.so"));
  const Outcome data = place().sdpipe({"run", "tiny.toml", "data.path=nowhere", "run.name=a"});
  CHECK(data.code == 4);
  CHECK(contains(data.err, "nowhere"));
  check_refusal({"sample", "nowhere"}, 5,
                "nowhere is neither a run's folder (with resolved.toml in it) nor a checkpoint of one");
}

TEST_CASE("a program without CUDA that is asked for a GPU says how to get one, and makes nothing") {
  const Workplace place;
  const Outcome outcome = place.sdpipe({"run", "tiny.toml", "run.device=cuda"});
  CHECK(outcome.code == 2);
  CHECK(outcome.err ==
        "error: <command line>#1:1:12: run.device = \"cuda\": this program was built without CUDA; build it with "
        "./script/build --cuda, or set run.device = \"cpu\" to compute on the CPU\n"
        "  1 | run.device=cuda\n    |            ^\n");
  CHECK_FALSE(fs::exists(place / "runs"));
}

TEST_CASE("check prints the plan and creates nothing") {
  const Workplace own;
  const Outcome outcome = own.sdpipe({"check", "tiny.toml"});
  CHECK(outcome.code == 0);
  CHECK(outcome.err.empty());
  for (const char* line : {"run       tiny -> runs/tiny\n",
                           "data      256 images of 1 x 8 x 8 from \"data/train-images-idx3-ubyte\" (idx)\n",
                           "corrupt   heat_blur, level 0 to 2 px\n", "schedule  levels by linear, noise by geometric\n",
                           "model     unet, 9,153 parameters\n",
                           "train     1,600 images in 200 batches of 8, loss at clean with weight uniform\n",
                           "sample    9 images by ancestral, 4 steps, 4 evaluations each, prior mixture\n",
                           "threads   1, device the CPU, precision float32\n"}) {
    CAPTURE(line, outcome.out);
    CHECK(contains(outcome.out, line));
  }
  CHECK_FALSE(fs::exists(own / "runs"));
}

TEST_CASE("check --loss says where the loss goes along the path, for what is trained") {
  const Outcome blur = place().sdpipe({"check", "tiny.toml", "--loss"});
  CHECK(blur.code == 0);
  CHECK(blur.err == "");
  CHECK(contains(blur.out, "loss      of the linear estimate, in the DCT, per element at t, over 256 images\n"));
  for (const char* t : {"1    ", "0.75 ", "0.5  ", "0.25 ", "0.1  "})
    CHECK(contains(blur.out, fmt::format("          t = {} ", t)));
  CHECK(contains(blur.out, " % of it where visibility is below 0.1\n"));
  const Outcome blocks =
      place().sdpipe({"check", "tiny.toml", "--loss", "corruption={ type = \"downsample\", factor = 2 }"});
  CHECK(blocks.code == 0);
  CHECK(contains(blocks.out, "visibility is not known: the corruption is diagonal neither in the DCT nor in pixels\n"));
  const Outcome fitted = place().sdpipe({"check", "tiny.toml", "--loss", "model={ type = \"wiener\" }", "~train"});
  CHECK(fitted.code == 0);
  CHECK_FALSE(contains(fitted.out, "linear estimate"));
}

namespace {

// sqrt(E |x_0|^2) over the pictures that the pipeline trains on.
double root_mean_square() {
  const std::string file = read_file(place() / "data/train-images-idx3-ubyte");
  double sum = 0;
  for (size_t i = 16; i < file.size(); ++i) sum += std::pow(static_cast<uint8_t>(file[i]) / 127.5 - 1, 2);
  return std::sqrt(sum / 256);
}

}  // namespace

TEST_CASE("schedule prints the path as a table, with what the corruption alone does between the nodes") {
  const Outcome table = place().sdpipe({"schedule", "tiny.toml", "sample.steps=2", "corruption={type=\"scale\"}",
                                        "noise.type=geometric", "+noise.saturation=1", "schedule.power=2"});
  CHECK(table.code == 0);
  const auto change = [](double level) { return fmt::format("{:>12.4g}", level * root_mean_square()); };
  CHECK(table.out ==
        "         t          level        sigma       change\n"
        "    0.0000              0         0.01            0\n"
        "    0.5000           0.25    0.0316228 " +
            change(0.25) +
            "\n"
            "    1.0000              1          0.1 " +
            change(0.75) +
            "\n"
            "\n"
            "change: sqrt(E |C_t x_0 - C_s x_0|^2) from the node before, over 256 images; W2 is at most that\n");
}

TEST_CASE("schedule prints all of it as JSON, what the schedule said included, and draws it") {
  const Outcome json =
      place().sdpipe({"schedule", "tiny.toml", "sample.steps=2", "schedule.type=wasserstein",
                      "+schedule.rule=equal_arc", "+schedule.estimator=coupled", "--json", "--svg", "path.svg"});
  CHECK(json.code == 0);
  const auto parsed = nlohmann::json::parse(json.out);
  CHECK(parsed["level_unit"] == "px");
  CHECK(parsed["change_images"] == 256);
  CHECK(parsed["path"]["level"].size() == 1025);
  CHECK(parsed["path"]["sigma"].back() == 0.1);
  REQUIRE(parsed["nodes"].size() == 3);
  CHECK(parsed["nodes"][0] == nlohmann::json{{"t", 0.0}, {"level", 0.0}, {"sigma", 0.01}, {"change", 0.0}});
  CHECK(parsed["nodes"][1]["level"] == parsed["path"]["level"][512]);
  // Equal steps of the coupled distance, which is what `change` measures.
  const double first = parsed["nodes"][1]["change"], second = parsed["nodes"][2]["change"];
  CHECK(first == Approx(second).epsilon(0.1));
  REQUIRE(parsed["notes"].size() == 1);
  CHECK(contains(parsed["notes"][0].get<std::string>(), "wasserstein: the arc along the candidates is "));
  CHECK(json.err == parsed["notes"][0].get<std::string>() + "\n");
  const std::string drawn = read_file(place() / "path.svg");
  for (const char* title : {">Corruption level<", ">Noise<", ">Change of the corrupted images between nodes<"})
    CHECK(contains(drawn, title));
}

TEST_CASE("plugins are listed with kind, id and file") {
  const Outcome outcome = place().sdpipe({"plugins", "list", "--json"});
  CHECK(outcome.code == 0);
  std::map<std::string, std::string> kinds;
  for (const auto& p : nlohmann::json::parse(outcome.out)) {
    kinds[p["id"]] = p["kind"];
    CHECK(fs::exists(p["file"].get<std::string>()));
  }
  CHECK(kinds["heat_blur"] == "corruption");
  CHECK(kinds["linear"] == "schedule");
  CHECK(kinds["unet"] == "model");
  CHECK(kinds["ddim"] == "sampler");
  const Outcome shown = place().sdpipe({"plugins", "show", "heat_blur"});
  CHECK(shown.code == 0);
  CHECK(contains(shown.out, "std_max"));
  CHECK(contains(shown.out, "level in px\n"));
}

TEST_CASE("doctor and data info say what there is") {
  const Outcome doctor = place().sdpipe({"doctor"});
  CHECK(doctor.code == 0);
  for (const char* word : {"sdpipe  ", "plugin ABI    1.", "LibTorch      torch ", "plugins       "})
    CHECK(contains(doctor.out, word));
  const Outcome info = place().sdpipe({"data", "info", "tiny.toml"});
  CHECK(info.code == 0);
  CHECK(contains(info.out, "256 images, 1 x 8 x 8 (channels x height x width)\nsha256 "));
}

TEST_CASE("help and version are results, not errors") {
  const Outcome help = place().sdpipe({"--help"}), version = place().sdpipe({"--version"});
  CHECK(help.code == 0);
  CHECK(contains(help.out, "Train, sample and report; goes on where it was"));
  CHECK(version.code == 0);
  CHECK(version.out.find("sdpipe ") == 0);
  CHECK(version.err.empty());
}
