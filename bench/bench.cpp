// Our side of script/benchmark: does training steps, evaluations or samplings on demand, with the code that `sdpipe
// run` and `sdpipe sample` use. benchmark.py starts it and, beside it, torch_worker.py, which speaks the same protocol.
//
//   sdpipe_bench begin  PIPELINE FOLDER WEIGHTS    makes FOLDER a run of PIPELINE that starts with these weights
//   sdpipe_bench train  PIPELINE FOLDER            for each line N: N training steps
//   sdpipe_bench infer  PIPELINE FOLDER            for each line N: N evaluations of x0_hat
//   sdpipe_bench sample PIPELINE FOLDER            for each line N: samples sample.count images N times
//   sdpipe_bench check  PIPELINE FOLDER IN OUT     IN holds x, gy, t; OUT gets y and the gradients of <gy, y>
//
// After each line it prints the seconds that took, the process's peak memory in KiB, and the CPU's seconds. WEIGHTS, IN
// and OUT are safetensors. The pictures are noise of data.channels and data.resize.
#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <numeric>

#include "core/base/files.hpp"
#include "core/base/log.hpp"
#include "core/base/memory.hpp"
#include "core/base/random.hpp"
#include "core/data/stored.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/evaluation/samples.hpp"
#include "core/training/tensors.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;

// Enough for some batches without repetition; what the schedule and the prior are estimated from costs time.
constexpr int64_t pictures = 256;

struct Finished {};

// What the driver asks for, and what it is told.
class Requests {
 public:
  // Waits for a line N; throws Finished at the end of the input.
  int64_t next() {
    int64_t n = 0;
    if (!(std::cin >> n)) throw Finished();
    start_cpu_ = cpu_seconds();
    start_ = Clock::now();
    return n;
  }
  void done() const {
    const double seconds = std::chrono::duration<double>(Clock::now() - start_).count();
    std::cout << seconds << ' ' << peak_kib() << ' ' << cpu_seconds() - start_cpu_ << std::endl;
  }

 private:
  using Clock = std::chrono::steady_clock;
  static double cpu_seconds() {
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           1e-6 * static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
  }
  // Not getrusage's, which counts what the program that started this one had in memory.
  static int64_t peak_kib() {
    std::ifstream status("/proc/self/status");
    for (std::string key; status >> key;) {
      int64_t kib = 0;
      if (key == "VmHWM:" && status >> kib) return kib;
    }
    throw RunError("/proc/self/status holds no VmHWM");
  }
  Clock::time_point start_;
  double start_cpu_ = 0;
};

std::shared_ptr<const Source> noise_pictures(const Settings& data) {
  const ImageShape shape{data.integer("channels"), data.integer("resize"), data.integer("resize")};
  std::vector<uint8_t> pixels(static_cast<size_t>(pictures * shape.elements()));
  for (size_t i = 0; i < pixels.size(); ++i)
    pixels[i] = static_cast<uint8_t>(random_bits({0, Purpose::calibration, i}));
  return std::make_shared<MemorySource>("noise", "none", 0, shape, std::vector<Part>{}, std::move(pixels),
                                        std::vector<uint8_t>{});
}

// What the verbs share: the pipeline, its data and its model.
struct Bench {
  Bench(const Pipeline& p, const fs::path& f)
      : pipeline(p), folder(f), source(noise_pictures(p.data)), model(make_model(p, sample_shape(source->shape()))) {}
  std::unique_ptr<TrainedModel> trained() const {
    return load_trained(pipeline, checkpoint_of_run(folder, Use::sampling), model);
  }
  int64_t batch() const { return pipeline.train->integer("batch"); }

  const Pipeline& pipeline;
  fs::path folder;
  std::shared_ptr<const Source> source;
  Model model;
};

void begin(const Bench& bench, const fs::path& weights) {
  const std::atomic<bool> stop = false;
  TrainingLoop(bench.pipeline, bench.source, bench.model, RunFolder(bench.folder))
      .begin_with(unpack_tensors(read_file(weights), weights.string()), stop);
}

void train(const Bench& bench) {
  const RunFolder folder(bench.folder);
  const std::atomic<bool> stop = false;
  Requests requests;
  int64_t left = requests.next();
  TrainingLoop(bench.pipeline, bench.source, bench.model, folder).run(stop, [&](const TrainingProgress&) {
    if (--left > 0) return;
    requests.done();
    left = requests.next();
  });
}

std::vector<uint64_t> numbers(int64_t n) {
  std::vector<uint64_t> all(static_cast<size_t>(n));
  std::iota(all.begin(), all.end(), uint64_t{0});
  return all;
}

std::vector<double> spread_times(int64_t n) {
  std::vector<double> t;
  for (int64_t b = 1; b <= n; ++b) t.push_back(static_cast<double>(b) / static_cast<double>(n + 1));
  return t;
}

void infer(const Bench& bench) {
  Requests requests;
  int64_t left = requests.next();
  const auto trained = bench.trained();
  const Denoiser denoiser(bench.model, trained->ema.for_model(), *trained->process);
  const std::vector<uint64_t> sample = numbers(bench.batch());
  const Points at = trained->process->at(spread_times(bench.batch()), sample);
  const at::Tensor x_0 =
      read_batch(*bench.source, std::vector<int64_t>(sample.begin(), sample.end())).to(trained->ema.flat().options());
  const at::Tensor x_t = trained->process->noisy(at, x_0, normal_like(x_0, 0, Purpose::prior, sample, 0));
  for (;; left = requests.next()) {
    for (; left > 0; --left) denoiser.x0_hat(at, x_t);
    requests.done();
  }
}

void sample(const Bench& bench) {
  Requests requests;
  int64_t left = requests.next();
  const auto trained = bench.trained();
  const SampleRequest request{bench.pipeline.sample.integer("count"), nullptr, {}};
  for (;; left = requests.next()) {
    for (; left > 0; --left) draw_samples(bench.pipeline, bench.model, *trained, bench.pipeline.sampler, request);
    requests.done();
  }
}

// The network's output on the path of inference and on that of training, and the gradients.
void check(const Bench& bench, const fs::path& in, const fs::path& out) {
  const auto trained = bench.trained();
  const std::string content = read_file(in);
  const NamedTensors given = unpack_tensors(content, in.string());
  const at::TensorOptions options = trained->ema.flat().options();
  const at::Tensor x = given.at("x").to(options), gy = given.at("gy").to(options), t = given.at("t").to(at::kDouble);
  const double* const times = t.const_data_ptr<double>();
  const Points at = trained->process->at(std::vector<double>(times, times + t.numel()), numbers(t.numel()));
  const ParamSet& params = trained->ema.for_model();
  FlatParameters gradients(trained->layout, trained->ema);
  const ModelCall call{params, at, {}, true};
  auto [y, saved] = bench.model.forward_saving(call, x);
  bench.model.vjp(call, x, saved, gy, &gradients.views(), false);
  NamedTensors found = {{"y", bench.model.forward({params, at}, x)}, {"y.training", y}};
  for (const auto& [name, gradient] : gradients.named(trained->layout)) found["gradient." + name] = gradient;
  write_file(out, pack_tensors(found));
}

int act(const std::vector<std::string>& words) {
  const auto usage = [] { throw UsageError("sdpipe_bench begin|train|infer|sample|check PIPELINE FOLDER [FILES]"); };
  if (words.size() < 3) usage();
  const Registry registry(PluginSearch{{}, default_plugin_folders()});
  const Pipeline pipeline = load_pipeline(words[1], {}, registry);
  if (const int64_t threads = pipeline.run.integer("threads")) at::set_num_threads(static_cast<int>(threads));
  set_log_level(LogLevel::warning);
  const Bench bench(pipeline, words[2]);
  const std::string& verb = words[0];
  if (verb == "begin" && words.size() == 4)
    begin(bench, words[3]);
  else if (verb == "check" && words.size() == 5)
    check(bench, words[3], words[4]);
  else if (verb == "train" && words.size() == 3)
    train(bench);
  else if (verb == "infer" && words.size() == 3)
    infer(bench);
  else if (verb == "sample" && words.size() == 3)
    sample(bench);
  else
    usage();
  return 0;
}

}  // namespace
}  // namespace sdpipe

int main(int argc, char** argv) {
  sdpipe::keep_freed_memory();
  try {
    return sdpipe::act({argv + 1, argv + argc});
  } catch (const sdpipe::Finished&) {
    return 0;
  } catch (const std::exception& e) {
    fmt::print(stderr, "sdpipe_bench: {}\n", e.what());
    return 1;
  }
}
