#include "core/training/loop.hpp"

#include <ATen/Parallel.h>

#include "core/training/tensors.hpp"
#include "tests/training/training.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;
namespace fs = std::filesystem;

namespace {

std::vector<std::string> bad(const std::string& fault, int first, int count, const std::string& policy) {
  return {"+model.fault=" + fault, fmt::format("+model.first={}", first), fmt::format("+model.count={}", count),
          "+train.on_nonfinite=" + policy};
}

struct Told {
  Outcome outcome;
  std::string warnings;
};

Told train_quietly(const std::vector<std::string>& overrides) {
  const TemporaryFolder folder;
  Capture capture;
  const Outcome outcome = train(training(overrides), folder / "run");
  return {outcome, capture.text()};
}

std::string failure(const std::vector<std::string>& overrides) {
  const TemporaryFolder folder;
  Capture capture;
  return message_of<RunError>([&] { train(training(overrides), folder / "run"); });
}

// Of all averaged weights, in units of the largest.
double difference(const Outcome& a, const Outcome& b) {
  const NamedTensors x = unpack_tensors(a.checkpoint.at("ema.safetensors"), "a");
  const NamedTensors y = unpack_tensors(b.checkpoint.at("ema.safetensors"), "b");
  double largest = 0;
  for (const auto& [name, tensor] : x)
    largest = std::max(largest, largest_difference(tensor, y.at(name)) / tensor.abs().max().item<double>());
  return largest;
}

const std::string advice = "; lower train.learning_rate, or set train.on_nonfinite to \"skip\" or \"rewind\"";

}  // namespace

TEST_CASE("a training ends with its last image, and running it again changes nothing") {
  const TemporaryFolder folder;
  const Outcome first = train(training(), folder / "run");
  CHECK(first.state.step == 10);
  CHECK(first.state.updates == 10);
  CHECK(first.state.images == 80);
  CHECK(first.state.loader == LoaderState{4, 0});
  const std::string metrics = read_file(folder / "run/metrics.jsonl");
  CHECK(std::count(metrics.begin(), metrics.end(), '\n') == 3);
  CHECK(train(training(), folder / "run").checkpoint == first.checkpoint);
  CHECK(read_file(folder / "run/metrics.jsonl") == metrics);
}

TEST_CASE("training lowers the loss") {
  const TemporaryFolder folder;
  train(training({"train.images=1600", "train.learning_rate=0.05"}), folder / "run");
  std::istringstream metrics(read_file(folder / "run/metrics.jsonl"));
  std::vector<double> losses;
  for (std::string line; std::getline(metrics, line);)
    losses.push_back(std::stod(line.substr(line.find("\"loss\":") + 7)));
  REQUIRE(losses.size() == 66);
  CHECK(losses.back() < 0.5 * losses.front());
}

TEST_CASE("what is frozen stays through a training as the network began it, raw, averaged and gone on with") {
  const std::string network =
      "{type = \"ncsnpp\", embedding_type = \"fourier\", nf = 8, ch_mult = [1], num_res_blocks = 1}";
  const Pipeline pipeline = training({"model=" + network});
  const Model model = make_model(pipeline, {1, 4, 4});
  FlatParameters begun(Layout(model.params()), tensor_options(pipeline));
  model.init(begun.views(), 3);
  const NamedTensors as_begun = begun.named(Layout(model.params()));
  const TemporaryFolder folder;
  const Capture capture;
  CHECK_THROWS_AS(train(pipeline, folder / "run", 40), Stopped);
  const Outcome outcome = train(pipeline, folder / "run");
  size_t frozen = 0;
  for (const char* file : {"model.safetensors", "ema.safetensors"}) {
    const NamedTensors found = unpack_tensors(outcome.checkpoint.at(file), file);
    for (const ModelParamInfo& p : model.params()) {
      if (!p.frozen) continue;
      CAPTURE(file, p.name);
      CHECK(found.at(p.name).equal(as_begun.at(p.name)));
      CHECK(as_begun.at(p.name).abs().max().item<double>() > 0);
      ++frozen;
    }
  }
  CHECK(frozen == 2);  // the Fourier embedding's frequencies, twice
}

TEST_CASE("a training stopped anywhere and gone on with equals one that was not, byte for byte") {
  for (const char* precision : {"float64", "float32"}) {
    const std::vector<std::string> overrides = {std::string("run.precision=") + precision};
    const TemporaryFolder folder;
    const Outcome whole = train(training(overrides), folder / "whole");
    const std::string metrics = read_file(folder / "whole/metrics.jsonl");
    for (const int64_t stop_at : {8, 24, 32, 40, 72}) {
      const fs::path place = folder / std::to_string(stop_at);
      Capture capture;
      const std::string stopped = message_of<Stopped>([&] { train(training(overrides), place, stop_at); });
      const Outcome resumed = train(training(overrides), place);
      const std::string said = capture.text();
      CHECK(
          stopped ==
          fmt::format("stopped at {} of 80 images; the state is saved, run the same command again to go on", stop_at));
      CHECK(said ==
            fmt::format("continuing from {}/checkpoints/{:09} ({} of 80 images)\n", place.string(), stop_at, stop_at));
      CHECK(resumed.checkpoint == whole.checkpoint);
      CHECK(read_file(place / "metrics.jsonl") == metrics);
    }
  }
}

TEST_CASE("the losses by which t is drawn are part of a checkpoint: a stopped training draws on as one that was not") {
  const std::vector<std::string> overrides = {"+train.times=importance", "train.images=1200",
                                              "train.checkpoint_every_images=400"};
  const TemporaryFolder folder;
  const Outcome whole = train(training(overrides), folder / "whole");
  const NamedTensors state = unpack_tensors(whole.checkpoint.at("optimizer.safetensors"), "optimizer");
  CHECK(state.at("times.count").min().item<double>() >= 10);  // t was in the end drawn by loss
  for (const int64_t stop_at : {8, 400, 960}) {
    const fs::path place = folder / std::to_string(stop_at);
    const Capture capture;
    CHECK_THROWS_AS(train(training(overrides), place, stop_at), Stopped);
    CHECK(train(training(overrides), place).checkpoint == whole.checkpoint);
  }
}

TEST_CASE("a checkpoint without the losses by which t is drawn is refused by name") {
  const TemporaryFolder folder;
  const Capture capture;
  CHECK_THROWS_AS(train(training(), folder / "run", 40), Stopped);
  CHECK(message_of<CheckpointError>([&] { train(training({"+train.times=importance"}), folder / "run"); }) ==
        (folder / "run/checkpoints/000000040/optimizer.safetensors").string() +
            ": \"times.mean_square\" is missing or misshapen");
}

TEST_CASE("going back to an older checkpoint repeats the same steps") {
  const TemporaryFolder folder;
  const Outcome whole = train(training(), folder / "run");
  const std::string metrics = read_file(folder / "run/metrics.jsonl");
  fs::remove_all(folder / "run/checkpoints/000000080");
  const Capture capture;
  CHECK(train(training(), folder / "run").checkpoint == whole.checkpoint);
  CHECK(read_file(folder / "run/metrics.jsonl") == metrics);
}

TEST_CASE("another number of threads is said at resumption") {
  const TemporaryFolder folder;
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  CHECK_THROWS_AS(train(training(), folder / "run", 40), Stopped);
  at::set_num_threads(2);
  Capture capture;
  train(training(), folder / "run");
  const std::string said = capture.text();
  at::set_num_threads(before);
  CHECK(said.find("warning: the checkpoint was written with 1 threads, this process has 2: the rest of the run is "
                  "valid, but not bit "
                  "for bit the same\n") != std::string::npos);
}

TEST_CASE("a larger number of images goes on with a finished training") {
  const TemporaryFolder folder;
  train(training(), folder / "run");
  const Capture capture;
  const Outcome longer = train(training({"train.images=160"}), folder / "run");
  CHECK(longer.state.step == 20);
  CHECK(longer.checkpoint == train(training({"train.images=160"}), folder / "at once").checkpoint);
}

TEST_CASE("a batch in parts trains the same weights as a whole one, but for the order of sums") {
  const std::string unet =
      R"(model={ type = "unet", channels = 8, multipliers = [1], blocks = 1, groups = 4, dropout = 0.3 })";
  const std::vector<std::vector<std::string>> settings = {{},
                                                          {"+train.times=low_discrepancy", "+data.flip=true"},
                                                          {"+train.times=importance", "+train.loss_at=next"},
                                                          {unet, "+train.clean_weight=0.5", "+train.loss_at=corrupted"},
                                                          {unet, "+train.parametrisation=scaled"}};
  for (const std::vector<std::string>& overrides : settings) {
    const TemporaryFolder folder;
    const Outcome whole = train(training(overrides), folder / "whole");
    for (const int64_t parts : {3, 4, 8}) {
      CAPTURE(overrides, parts);
      std::vector<std::string> in_parts = overrides;
      in_parts.push_back(fmt::format("+train.accumulate={}", parts));
      const Outcome outcome = train(training(in_parts), folder / std::to_string(parts));
      CHECK(outcome.state.step == whole.state.step);
      CHECK(outcome.state.images == whole.state.images);
      CHECK(difference(whole, outcome) < 1e-10);
    }
  }
}

TEST_CASE("a training goes on in another number of parts") {
  const TemporaryFolder folder;
  CHECK_THROWS_AS(train(training(), folder / "run", 40), Stopped);
  const Outcome outcome = train(training({"+train.accumulate=4"}), folder / "run");
  CHECK(difference(train(training(), folder / "whole"), outcome) < 1e-12);
}

TEST_CASE("a gradient that is not finite stops the training in the same step and names the parameter") {
  CHECK(failure(bad("not_a_number", 3, 1, "stop")) == "step 3: the gradient of \"bias\" is not finite" + advice);
  CHECK(failure(bad("not_a_number", 1, 1, "stop")) == "step 1: the gradient of \"bias\" is not finite" + advice);
  CHECK(failure(bad("huge_gradient", 3, 1, "stop")) == "step 3: the gradient's norm overflows" + advice);
  CHECK(failure(bad("huge_output", 3, 1, "stop")) == "step 3: the loss is not finite" + advice);
}

TEST_CASE("a bad step is skipped, said, and leaves the weights as they were") {
  const Told told = train_quietly(bad("not_a_number", 3, 2, "skip"));
  CHECK(told.warnings ==
        "warning: step 3: the gradient of \"bias\" is not finite; the step is skipped\n"
        "warning: step 4: the gradient of \"bias\" is not finite; the step is skipped\n");
  CHECK(told.outcome.state.step == 10);
  CHECK(told.outcome.state.updates == 8);
  for (const auto& [name, tensor] : unpack_tensors(told.outcome.checkpoint.at("model.safetensors"), "m")) {
    CHECK(tensor.isfinite().all().item<bool>());
  }
}

TEST_CASE("twenty bad steps in a row are borne, not one more") {
  std::vector<std::string> overrides = bad("not_a_number", 3, 20, "skip");
  overrides.push_back("train.images=800");
  CHECK(train_quietly(overrides).outcome.state.updates == 80);
  overrides = bad("not_a_number", 3, 21, "skip");
  overrides.push_back("train.images=800");
  CHECK(failure(overrides) ==
        "step 23: the gradient of \"bias\" is not finite, as in the 20 steps before it; lower train.learning_rate");
}

TEST_CASE("rewinding goes back to the last checkpoint's weights and on with new data") {
  // Step 5 follows the checkpoint at once: going back to it is the same as skipping the step.
  CHECK(train_quietly(bad("not_a_number", 5, 1, "rewind")).outcome.checkpoint ==
        train_quietly(bad("not_a_number", 5, 1, "skip")).outcome.checkpoint);
  const Told told = train_quietly(bad("not_a_number", 7, 1, "rewind"));
  CHECK(told.warnings ==
        "warning: step 7: the gradient of \"bias\" is not finite; going back to the last checkpoint's weights\n");
  CHECK(told.outcome.state.step == 10);
  CHECK(told.outcome.state.updates == 10 - 3);
  CHECK(told.outcome.checkpoint != train_quietly(bad("not_a_number", 7, 1, "skip")).outcome.checkpoint);
  // Before the first checkpoint of its own accord, one at image 0 was written to go back to.
  CHECK(train_quietly(bad("not_a_number", 2, 1, "rewind")).outcome.state.updates == 10 - 2);
}

TEST_CASE("an output that is not finite is the policy's matter at every step, also where outputs are looked at") {
  std::vector<std::string> overrides = bad("huge_output", 60, 7, "skip");
  overrides.insert(overrides.end(), {"train.images=800", "run.precision=float32"});  // where 1e200 is infinite
  CHECK(train_quietly(overrides).outcome.state.updates == 93);
}

TEST_CASE("what sampling will refuse is refused before the training") {
  CHECK(failure({"+sample.spacing=log_sigma", "+noise.saturation=0.5"})
            .starts_with("sample.spacing = \"log_sigma\" needs a sigma(t)"));
}

TEST_CASE("a fitted model is fitted once and kept") {
  const std::vector<std::string> overrides = {"~train", "model={type = \"empirical\", count = 20}"};
  const TemporaryFolder folder;
  const Outcome first = train(training(overrides), folder / "run");
  CHECK(first.checkpoint.size() == 3);
  CHECK(fs::exists(folder / "run/checkpoints/000000000/model.safetensors"));
  const auto time = fs::last_write_time(folder / "run/checkpoints/000000000");
  CHECK(train(training(overrides), folder / "run").checkpoint == first.checkpoint);
  CHECK(fs::last_write_time(folder / "run/checkpoints/000000000") == time);
}
