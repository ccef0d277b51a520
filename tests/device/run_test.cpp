// Everything that a run does, on the simulated GPU: its results are the CPU's to rounding.
#include <ATen/TensorOperators.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "core/base/json.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/evaluation/samples.hpp"
#include "core/run/ablation_run.hpp"
#include "core/run/experiment_run.hpp"
#include "core/run/export_weights.hpp"
#include "core/run/found_run.hpp"
#include "core/run/import_weights.hpp"
#include "core/run/restoration_run.hpp"
#include "core/run/sample_run.hpp"
#include "core/training/tensors.hpp"
#include "tests/run/place.hpp"
#include "tests/simulated_cuda/simulated_cuda.hpp"
#include "tests/training/capture.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

namespace sdpipe::testing {
namespace {

// Relative, of sums in another order; single pixels and steps of samplers add up a little more of it.
constexpr double rounding = 1e-5;

using Words = std::vector<std::string>;

Words on(const std::string& device, const std::string& name, Words words = {}) {
  words.insert(words.end(), {"run.device=" + device, "run.name=" + name, "train.images=32", "train.log_every=1",
                             "train.checkpoint_every_images=16", "sample.count=4", "model.groups=1"});
  return words;
}

NamedTensors weights(const fs::path& run) {
  const FileContents files = newest_checkpoint(run / "checkpoints")->files;
  return unpack_tensors(files.at("model.safetensors"), "model.safetensors");
}

double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.cpu().to(at::kDouble), y = b.cpu().to(at::kDouble);
  const double size = y.norm().item<double>();
  return size > 0 ? (x - y).norm().item<double>() / size : x.norm().item<double>();
}

// Of all weights together: one that training has hardly moved from 0 is rounding alone.
double difference_of_weights(const fs::path& a, const fs::path& b) {
  double apart = 0, size = 0;
  const NamedTensors of_b = weights(b);
  for (const auto& [name, tensor] : weights(a)) {
    apart += (tensor - of_b.at(name)).square().sum().item<double>();
    size += tensor.square().sum().item<double>();
  }
  return std::sqrt(apart / size);
}

// Of loss and gradient norm, over all lines.
double difference_of_metrics(const fs::path& a, const fs::path& b) {
  std::ifstream of_a(a / "metrics.jsonl"), of_b(b / "metrics.jsonl");
  double worst = 0;
  int lines = 0;
  for (std::string x, y; std::getline(of_a, x) && std::getline(of_b, y); ++lines) {
    for (const char* key : {"loss", "gradient_norm"}) {
      const double p = Json::parse(x).at(key), q = Json::parse(y).at(key);
      worst = std::max(worst, std::abs(p - q) / std::abs(q));
    }
  }
  return lines == 4 ? worst : std::nan("");
}

// In dB, of pictures rounded to bytes; both may be infinite.
bool is_same_psnr(double a, double b) { return a == b || std::abs(a - b) <= 0.01; }

// What the run's sampler draws, before it is rounded to bytes.
at::Tensor drawn(Place& place, const fs::path& run, const Words& words) {
  const FoundRun found = find_run(place.workspace, run, words);
  StoredCheckpoint checkpoint = checkpoint_of(found);
  const Model model = make_model(found.pipeline, stored_shape(checkpoint));
  const auto trained = load_trained(found.pipeline, std::move(checkpoint), model);
  const Prior prior = make_prior(found.pipeline, *trained);
  const Start start = prior.draw(0, 3, tensor_options(found.pipeline));
  TrajectoryOptions options;
  options.nodes = sampling_nodes(trained->process->path(), found.pipeline.sample);
  options.seed = 5;
  const std::vector<uint64_t> samples = {0, 1, 2};
  return run_trajectory(trained->denoiser(model), make_sampler(found.pipeline.sampler), start.x_1, start.keys, samples,
                        options)
      .x;
}

}  // namespace

TEST_CASE("A run on a GPU has the CPU's losses and weights, whatever the corruption, the loss and its parts") {
  const std::vector<Words> settings = {
      {},
      {"corruption={ type = \"soft_mask\" }", "sample.prior=noise"},
      {"corruption={ type = \"motion_blur\" }", "train.loss_at=corrupted"},
      {"schedule={ type = \"wasserstein\", nodes = 8 }", "train.loss_at=next", "train.accumulate=3"},
      {"model.dropout=0.1", "model.checkpoint=true", "train.parametrisation=scaled"},
      {"train.parametrisation=linear", "train.times=importance", "run.precision=float64"},
  };
  Place place;
  for (const Words& words : settings) {
    CAPTURE(words);
    const fs::path cpu = run_experiment(place.workspace, place.load(on("cpu", "cpu", words)), true, false).folder;
    const fs::path cuda = run_experiment(place.workspace, place.load(on("cuda", "cuda", words)), true, false).folder;
    CHECK(difference_of_metrics(cuda, cpu) <= rounding);
    CHECK(difference_of_weights(cuda, cpu) <= rounding);
    CHECK(fs::exists(cuda / "report.html"));
    CHECK(contains(read_file(cuda / "manifest.json"), "\"device\": \"GPU 0, simulated\""));
  }
}

TEST_CASE("A run on a GPU that is stopped goes on to the weights that it has without, byte for byte") {
  Place whole;
  const fs::path at_once = run_experiment(whole.workspace, whole.load(on("cuda", "tiny")), false, false).folder;
  Place place;
  place.stop_at("train");
  CHECK_THROWS_AS(run_experiment(place.workspace, place.load(on("cuda", "tiny")), false, false), Stopped);
  place.stop = false;
  const fs::path in_two = run_experiment(place.workspace, place.load(on("cuda", "tiny")), false, false).folder;
  const std::string last = "checkpoints/000000032/model.safetensors";
  CHECK(read_file(in_two / last) == read_file(at_once / last));
}

TEST_CASE("A run goes on on another device, and says that it does") {
  Place place;
  const fs::path cpu = run_experiment(place.workspace, place.load(on("cpu", "cpu")), false, false).folder;
  place.stop_at("train");
  CHECK_THROWS_AS(run_experiment(place.workspace, place.load(on("cpu", "both")), false, false), Stopped);
  place.stop = false;
  set_log_level(LogLevel::warning);
  std::string said;
  fs::path both;
  {
    Capture captured;
    both = run_experiment(place.workspace, place.load(on("cuda", "both")), false, false).folder;
    said = captured.text();
  }
  set_log_level(LogLevel::error);
  CHECK(
      contains(said,
               "the checkpoint was written on the CPU, this process computes on a GPU, simulated: the rest of the run "
               "is valid, but not bit for bit the same"));
  CHECK(difference_of_weights(both, cpu) <= rounding);
}

TEST_CASE("Every sampler draws on a GPU what it draws on the CPU, those that compute on the CPU alone too") {
  Place place(all_samplers);
  const fs::path run = run_experiment(place.workspace, place.load(on("cpu", "cpu")), false, false).folder;
  int samplers = 0;
  for (const Plugin& plugin : place.workspace.registry().plugins()) {
    if (plugin.kind() != SDP_KIND_SAMPLER) continue;
    CAPTURE(plugin.id());
    ++samplers;
    const std::string sampler = "sampler={ type = \"" + plugin.id() + "\" }";
    // euler divides the difference of two corruptions by a small step, and with it what they were rounded by.
    CHECK(relative_difference(drawn(place, run, {sampler, "run.device=cuda"}),
                              drawn(place, run, {sampler, "run.device=cpu"})) <=
          (plugin.id() == "euler" ? 1e-3 : rounding));
  }
  CHECK(samplers == 10);
  for (const char* prior : {"noise", "gaussian", "empirical", "mixture"}) {
    CAPTURE(prior);
    const std::string word = std::string("sample.prior=") + prior;
    CHECK(relative_difference(drawn(place, run, {word, "run.device=cuda"}),
                              drawn(place, run, {word, "run.device=cpu"})) <= rounding);
  }
}

TEST_CASE("An ablation on a GPU has the CPU's scores") {
  Place place;
  const std::string grid = "+ablate=[{ sample.steps = [2, 3], count = 8, score = [\"sliced_wasserstein\"] }]";
  const auto scores = [&](const std::string& device) {
    const fs::path run = run_experiment(place.workspace, place.load(on("cpu", device)), false, false).folder;
    // Features take longer than all the rest, and both may have the same ones.
    if (fs::exists(place / "runs/cpu/features") && device != "cpu")
      fs::copy(place / "runs/cpu/features", run / "features", fs::copy_options::recursive);
    std::vector<double> values;
    for (const CellResult& cell :
         ablate_trained(place.workspace, run, {grid, "run.device=" + device}, true).ablation.results)
      for (const Score& score : cell.scores) values.push_back(score.value);
    return values;
  };
  const std::vector<double> cpu = scores("cpu"), cuda = scores("cuda");
  REQUIRE(cpu.size() == 2);
  REQUIRE(cuda.size() == 2);
  // Of bytes: one that is rounded the other way moves them by a thousandth.
  for (size_t i = 0; i < cpu.size(); ++i) CHECK(std::abs(cuda[i] - cpu[i]) <= 2e-3 * cpu[i]);
}

TEST_CASE("Restoration on a GPU reaches what it reaches on the CPU, by every method and for other corruptions too") {
  Place place;
  const fs::path run = run_experiment(place.workspace, place.load(on("cpu", "cpu")), false, false).folder;
  for (const std::string corruption : {"", "{ type = \"pixel_mask\" }", "{ type = \"downsample\", factor = 2 }"}) {
    CAPTURE(corruption);
    RestorationRequest request;
    request.files = {run / "samples/sample-0000.png", run / "samples/sample-0001.png"};
    request.clean = true;
    request.corruption = corruption;
    request.noise = 0.05;
    const Restoration cpu = restore_run(place.workspace, run, {"run.device=cpu"}, request);
    const Restoration cuda = restore_run(place.workspace, run, {"run.device=cuda"}, request);
    REQUIRE(cuda.rows.size() == cpu.rows.size());
    for (size_t i = 0; i < cpu.rows.size(); ++i) {
      CAPTURE(cpu.rows[i].name);
      CHECK(is_same_psnr(cuda.rows[i].psnr, cpu.rows[i].psnr));
    }
  }
}

TEST_CASE("Weights go out of a run on a GPU and into another one") {
  Place place;
  const fs::path run = run_experiment(place.workspace, place.load(on("cuda", "first")), false, false).folder;
  export_weights(place.workspace, {.run = run, .output = place / "weights.safetensors"});
  const fs::path second = import_weights(place.workspace, place.load(on("cuda", "second")),
                                         {.source = place / "weights.safetensors", .raw = false, .fresh = false});
  CHECK(relative_difference(drawn(place, second, {"run.device=cuda"}), drawn(place, run, {"run.device=cpu"})) <=
        rounding);
}

TEST_CASE("Models that are fitted on the CPU alone serve a run on a GPU through copies") {
  Place place;
  for (const char* model : {"{ type = \"wiener\", source = \"data\" }", "{ type = \"empirical\", count = 64 }"}) {
    CAPTURE(model);
    const Words words = {"~train", std::string("model=") + model};
    Words cpu = words, cuda = words;
    cpu.insert(cpu.end(), {"run.device=cpu", "run.name=cpu", "sample.count=4"});
    cuda.insert(cuda.end(), {"run.device=cuda", "run.name=cuda", "sample.count=4"});
    const fs::path of_cpu = run_experiment(place.workspace, place.load_as_it_is(cpu), true, false).folder;
    const fs::path of_cuda = run_experiment(place.workspace, place.load_as_it_is(cuda), true, false).folder;
    CHECK(relative_difference(drawn(place, of_cuda, {}), drawn(place, of_cpu, {})) <= rounding);
    RestorationRequest request;
    request.files = {of_cpu / "samples/sample-0000.png"};
    request.clean = true;
    request.method = "guidance";  // asks for the gradient in x
    const Restoration a = restore_run(place.workspace, of_cpu, {"run.device=cpu"}, request);
    const Restoration b = restore_run(place.workspace, of_cpu, {"run.device=cuda"}, request);
    CHECK(is_same_psnr(a.rows.back().psnr, b.rows.back().psnr));
  }
}

TEST_CASE("The second GPU does what the first one does, and nothing of it is done on the first") {
  Place place;
  const fs::path first = run_experiment(place.workspace, place.load(on("cuda:0", "first")), false, false).folder;
  const size_t before = simulated_cuda::allocations(0);
  const fs::path second = run_experiment(place.workspace, place.load(on("cuda:1", "second")), false, false).folder;
  CHECK(simulated_cuda::allocations(0) == before);
  CHECK(weights(first).size() > 0);
  CHECK(difference_of_weights(second, first) == 0);
  CHECK(contains(read_file(second / "manifest.json"), "\"device\": \"GPU 1, simulated\""));
}

TEST_CASE("Parameters in bfloat16 give on a GPU what they give on the CPU, as far as bfloat16 goes") {
  Place place;
  const Words words = {"run.precision=bfloat16"};
  const fs::path cpu = run_experiment(place.workspace, place.load(on("cpu", "cpu", words)), false, false).folder;
  const fs::path cuda = run_experiment(place.workspace, place.load(on("cuda", "cuda", words)), false, false).folder;
  CHECK(difference_of_metrics(cuda, cpu) <= 2e-2);
  CHECK(difference_of_weights(cuda, cpu) <= 2e-2);
}

}  // namespace sdpipe::testing
