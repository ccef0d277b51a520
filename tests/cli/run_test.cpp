// `sdpipe run`: the same bytes each time, whatever interrupts it.
#include <cctype>
#include <random>

#include "core/base/json.hpp"
#include "core/training/checkpoint.hpp"
#include "tests/cli/program.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const std::string last_checkpoint = "runs/tiny/checkpoints/000001600";

// What an uninterrupted run makes, done once.
const Workplace& uninterrupted() {
  static const Workplace place;
  static const Outcome outcome = place.sdpipe({"run", "tiny.toml"});
  if (outcome.code != 0) throw std::runtime_error(outcome.err);
  return place;
}

void require_same_results(const Workplace& place) {
  const Workplace& expected = uninterrupted();
  CHECK(contents(place / last_checkpoint) == contents(expected / last_checkpoint));
  CHECK(contents(place / "runs/tiny/samples") == contents(expected / "runs/tiny/samples"));
  CHECK(read_file(place / "runs/tiny/metrics.jsonl") == read_file(expected / "runs/tiny/metrics.jsonl"));
}

// Every checkpoint that can be seen is whole.
int verified(const fs::path& checkpoints) {
  int count = 0;
  if (!fs::exists(checkpoints)) return 0;
  for (const auto& entry : fs::directory_iterator(checkpoints)) {
    const std::string name = entry.path().filename().string();
    if (!std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isdigit(c); })) continue;
    CHECK_NOTHROW(read_checkpoint(entry.path()));
    ++count;
  }
  if (fs::is_symlink(checkpoints / "latest")) CHECK(fs::exists(checkpoints / "latest/MANIFEST.json"));
  return count;
}

void flip_last_bit(const fs::path& file) {
  std::string content = read_file(file);
  content.back() = static_cast<char>(content.back() ^ 1);
  write_file(file, content);
}

}  // namespace

TEST_CASE("two runs of one pipeline make the same checkpoints and pictures, byte for byte") {
  const Workplace place;
  const Outcome outcome = place.sdpipe({"run", "tiny.toml"});
  CHECK(outcome.code == 0);
  CHECK(outcome.out == "runs/tiny/samples/grid.png\nruns/tiny/report.html\n");
  require_same_results(place);
  CHECK(contents(place / "runs/tiny/checkpoints") == contents(uninterrupted() / "runs/tiny/checkpoints"));
  CHECK(contents(place / "runs/tiny/checkpoints").size() == 12);
  CHECK(contents(place / "runs/tiny/samples").size() == 11);
}

TEST_CASE("run.threads = 0 means OMP_NUM_THREADS, here 1; another number goes before it") {
  for (const auto& [given, used] : std::vector<std::pair<std::string, int>>{{"0", 1}, {"2", 2}}) {
    const Workplace place;
    REQUIRE(place.sdpipe({"run", "tiny.toml", "run.threads=" + given}).code == 0);
    CHECK(Json::parse(read_file(place / (last_checkpoint + "/state.json"))).at("threads").get<int>() == used);
  }
}

TEST_CASE("the report shows the nearest training images, and how many of them the trajectories started from") {
  const Workplace place;
  REQUIRE(place.sdpipe({"run", "tiny.toml", "sample.prior=empirical"}).code == 0);
  const std::string report = read_file(place / "runs/tiny/report.html");
  const size_t section = report.find("Nearest training images</h2>");
  REQUIRE(section != std::string::npos);
  const size_t copies = report.find("it is the very image whose corrupted form the trajectory started from", section);
  CHECK(copies != std::string::npos);
}

TEST_CASE("killed again and again at random moments, a run ends in the same bytes") {
  const char* given = std::getenv("SDPIPE_TEST_SEED");
  const unsigned seed = given ? static_cast<unsigned>(std::stoul(given)) : std::random_device{}();
  CAPTURE(seed);
  std::mt19937 random(seed);
  std::uniform_int_distribution<int> milliseconds(20, 900);
  int kills = 0;
  for (bool done = false; !done || kills < 12;) {
    const Workplace place;
    for (done = false; !done;) {
      Process run(place.path(), {"run", "tiny.toml", "--quiet"});
      const int delay = milliseconds(random);
      if (kills < 12) {
        std::this_thread::sleep_for(std::chrono::milliseconds(delay));
        run.send(SIGKILL);
      }
      const Outcome outcome = run.wait();
      CAPTURE(delay, outcome.err);
      done = outcome.code == 0;
      kills += outcome.signal == SIGKILL;
      REQUIRE((done || outcome.signal == SIGKILL));
      verified(place / "runs/tiny/checkpoints");
    }
    require_same_results(place);
  }
  CHECK(kills >= 12);
}

TEST_CASE("a signal saves, says so, exits with 75, and the same command goes on to the same bytes") {
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) {
    const Workplace place;
    Process run(place.path(), {"run", "tiny.toml"});
    REQUIRE(wait_until(run, [&] { return fs::exists(place / "runs/tiny/checkpoints/latest"); }));
    run.send(signal);
    const Outcome stopped = run.wait();
    CHECK(stopped.code == 75);
    CHECK(stopped.out.empty());
    CHECK(contains(stopped.err, "\nstopping: the state is saved after this step; a second signal exits at once\n"));
    CHECK(contains(stopped.err, " of 1600 images; the state is saved, run the same command again to go on\n"));
    CHECK(verified(place / "runs/tiny/checkpoints") > 0);
    const Outcome resumed = place.sdpipe({"run", "tiny.toml"});
    CHECK(resumed.code == 0);
    CHECK(contains(resumed.err, "continuing from runs/tiny/checkpoints/"));
    require_same_results(place);
  }
}

TEST_CASE("a second signal exits at once") {
  const Workplace place;
  // One step that takes seconds.
  Process run(place.path(), {"run", "tiny.toml", "train.batch=16000", "train.images=16000"});
  REQUIRE(wait_until(run, [&] { return fs::exists(place / "runs/tiny/resolved.toml"); }));
  run.send(SIGTERM);
  REQUIRE(wait_until(run, [&] { return contains(run.err(), "stopping: "); }));
  run.send(SIGTERM);
  CHECK(run.wait().code == 143);
  CHECK_FALSE(fs::exists(place / "runs/tiny/checkpoints/latest"));
}

TEST_CASE("a complete run is left as it is") {
  const Workplace place;
  REQUIRE(place.sdpipe({"run", "tiny.toml"}).code == 0);
  const auto before = contents(place / "runs");
  const auto written = times(place / "runs");
  const Outcome again = place.sdpipe({"run", "tiny.toml"});
  CHECK(again.code == 0);
  CHECK(again.err == "nothing to do: runs/tiny is complete\n");
  CHECK(again.out == "runs/tiny/samples/grid.png\nruns/tiny/report.html\n");
  CHECK(contents(place / "runs") == before);
  CHECK(times(place / "runs") == written);
  // Other pictures of the same training.
  const auto checkpoints = contents(place / "runs/tiny/checkpoints");
  CHECK(place.sdpipe({"run", "tiny.toml", "sample.count=4"}).code == 0);
  CHECK(contents(place / "runs/tiny/samples").size() == 6);
  CHECK(contents(place / "runs/tiny/checkpoints") == checkpoints);
}

TEST_CASE(
    "another pipeline in a run's folder is refused with the keys that differ, and --fresh moves the old run aside") {
  const Workplace place;
  REQUIRE(place.sdpipe({"run", "tiny.toml"}).code == 0);
  const auto old = contents(place / "runs/tiny");
  const Outcome refused = place.sdpipe({"run", "tiny.toml", "train.batch=16", "corruption.std_max=3"});
  CHECK(refused.code == 2);
  CHECK(refused.err ==
        "error: runs/tiny holds another run: corruption.std_max, train.batch differ; give this one another name with "
        "run.name=..., or --fresh to move the old one aside\n");
  CHECK(place.sdpipe({"run", "tiny.toml", "train.batch=16"}).err ==
        "error: runs/tiny holds another run: train.batch differs; give this one another name with run.name=..., or "
        "--fresh to move the "
        "old one aside\n");
  CHECK(contents(place / "runs/tiny") == old);
  const Outcome fresh = place.sdpipe({"run", "tiny.toml", "train.batch=16", "--fresh"});
  CHECK(fresh.code == 0);
  CHECK(fresh.err.find("the old run is now runs/tiny.1\n") == 0);
  CHECK(contents(place / "runs/tiny.1") == old);
  CHECK(contents(place / last_checkpoint) != contents(place / "runs/tiny.1/checkpoints/000001600"));
}

TEST_CASE("a run's folder that another process holds is refused") {
  const Workplace place;
  fs::create_directories(place / "runs/tiny");
  const FileLock lock(place / "runs/tiny/.lock");
  const std::string sentence =
      "error: runs/tiny is in use by another sdpipe; wait for it, or give this run another name with run.name=...\n";
  for (const Words& words : {Words{"run", "tiny.toml"}, Words{"run", "tiny.toml", "--fresh"}}) {
    const Outcome outcome = place.sdpipe(words);
    CHECK(outcome.code == 1);
    CHECK(outcome.err == sentence);
  }
}

TEST_CASE("a damaged checkpoint is passed over loudly, and where all are damaged the exit code is 5") {
  const Workplace place;
  REQUIRE(place.sdpipe({"run", "tiny.toml"}).code == 0);
  flip_last_bit(place / (last_checkpoint + "/ema.safetensors"));
  const Outcome sampled = place.sdpipe({"sample", "runs/tiny"});
  CHECK(sampled.code == 0);
  CHECK(contains(sampled.err,
                 "/checkpoints/000001600/ema.safetensors is damaged: its content is not what was written (tensor \""));
  const Outcome mended = place.sdpipe({"run", "tiny.toml"});
  CHECK(mended.code == 0);
  CHECK(contains(mended.err, "; going back to the checkpoint before it\n"));
  CHECK(contains(mended.err, "continuing from runs/tiny/checkpoints/000001440 (1440 of 1600 images)\n"));
  require_same_results(place);
  for (const char* name : {"000001440", "000001600"})
    flip_last_bit(place / "runs/tiny/checkpoints" / name / "state.json");
  for (const Words& words : {Words{"run", "tiny.toml"}, Words{"sample", "runs/tiny"}}) {
    const Outcome refused = place.sdpipe(words);
    CHECK(refused.code == 5);
    CHECK(contains(refused.err, "checkpoints is whole; the last reason: checkpoint "));
  }
}

TEST_CASE("data that changed since a run began is refused") {
  const Workplace place;
  REQUIRE(place.sdpipe({"run", "tiny.toml"}).code == 0);
  const auto before = contents(place / "runs");
  write_pictures(place / "data", 255, 8);
  const Outcome outcome = place.sdpipe({"run", "tiny.toml"});
  CHECK(outcome.code == 4);
  CHECK(outcome.err ==
        "error: the data is not what runs/tiny began with (then: 256 images of 1 x 8 x 8 from "
        "\"data/train-images-idx3-ubyte\" (idx)); put it back, or move the run aside with `sdpipe run --fresh`\n");
  CHECK(contents(place / "runs") == before);
}

TEST_CASE("samples are drawn from a run with another sampler, in batches of any size") {
  const Workplace& place = uninterrupted();
  const Outcome drawn = place.sdpipe({"sample", "runs/tiny", "sampler.type=ddim", "sample.steps=5", "--quiet"});
  CHECK(drawn.code == 0);
  CHECK(drawn.err.empty());
  const fs::path folder = fs::weakly_canonical(place / "runs/tiny/samples-ddim-5");
  CHECK(drawn.out == (folder / "grid.png").string() + "\n");
  const auto files = contents(folder);
  CHECK(files.size() == 10);
  for (const char* batch : {"sample.batch=1", "sample.batch=4"}) {
    REQUIRE(place.sdpipe({"sample", "runs/tiny", "sampler.type=ddim", "sample.steps=5", batch, "-o", "other"}).code ==
            0);
    CHECK(contents(place / "other") == files);
  }
  // A checkpoint in place of its run; the latest is the one that a run's name means.
  REQUIRE(place.sdpipe({"sample", "runs/tiny/checkpoints/latest", "sampler.type=ddim", "sample.steps=5", "-o", "named"})
              .code == 0);
  CHECK(contents(place / "named") == files);
  REQUIRE(
      place.sdpipe({"sample", "runs/tiny/checkpoints/000001440", "sampler.type=ddim", "sample.steps=5", "-o", "older"})
          .code == 0);
  CHECK(contents(place / "older") != files);
}

TEST_CASE("what was trained cannot be changed when sampling") {
  const Outcome outcome = uninterrupted().sdpipe({"sample", "runs/tiny", "corruption.std_max=3"});
  CHECK(outcome.code == 2);
  CHECK(outcome.err ==
        "error: corruption.std_max cannot be changed after training; here only [sampler], [sample], run.threads and "
        "run.device can\n");
}

TEST_CASE("a start that cannot be fitted to so few pictures is refused at its key, before the run begins") {
  const Workplace place;
  write_pictures(place / "few", 12, 8);
  for (const std::string verb : {"check", "run"}) {
    const Outcome asked = place.sdpipe({verb, "tiny.toml", "data.path=few", "sample.prior=mixture"});
    CHECK(asked.code == 2);
    CHECK(
        asked.err ==
        "error: <command line>#2:1:14: sample.prior = \"mixture\" needs at least 20 images, 20 for each component, and "
        "the data set has 12; use sample.prior = \"empirical\" or \"gaussian\"\n"
        "  1 | sample.prior=mixture\n"
        "    |              ^\n");
    const Outcome many = place.sdpipe({verb, "tiny.toml", "sample.prior=mixture", "sample.prior_components=100"});
    CHECK(many.code == 2);
    CHECK(contains(many.err,
                   "sample.prior = \"mixture\" needs at least 2000 images, 20 for each component, and the data "
                   "set has "));
    CHECK(contains(many.err, "lower sample.prior_components, or leave it at 0, which chooses the number\n"));
    CHECK_FALSE(fs::exists(place / "runs/tiny/resolved.toml"));
    CHECK_FALSE(fs::exists(place / "runs/tiny/checkpoints"));
  }
}
