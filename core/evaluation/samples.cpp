#include "core/evaluation/samples.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/zeros.h>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <regex>

#include "core/diffusion/assembly.hpp"

namespace sdpipe {

std::vector<ByteImage> to_byte_images(const at::Tensor& x) {
  const at::Tensor bytes =
      ((x.detach().cpu().to(at::kDouble) + 1) * 127.5).round().clamp(0, 255).to(at::kByte).contiguous();
  const ImageShape shape{bytes.size(1), bytes.size(2), bytes.size(3)};
  const uint8_t* first = bytes.const_data_ptr<uint8_t>();
  std::vector<ByteImage> images;
  for (int64_t b = 0; b < bytes.size(0); ++b, first += shape.elements())
    images.push_back({shape, {first, first + shape.elements()}});
  return images;
}

namespace {

uint64_t sample_seed(const Pipeline& pipeline) { return static_cast<uint64_t>(pipeline.sample.integer("seed")); }

}  // namespace

Prior make_prior(const Pipeline& pipeline, const TrainedModel& trained) {
  return Prior(trained.prior, *trained.process, prior_options(pipeline));
}

std::string describe_prior(const Pipeline& pipeline, const TrainedModel& trained) {
  return make_prior(pipeline, trained).describe();
}

std::vector<int64_t> prior_sources(const Pipeline& pipeline, const TrainedModel& trained, const Source& source,
                                   int64_t count) {
  const Prior prior = make_prior(pipeline, trained);
  const uint64_t seed = static_cast<uint64_t>(pipeline.run.integer("seed"));
  const std::vector<int64_t> pool = choose_images(source.size(), calibration_images, seed);
  std::vector<int64_t> sources;
  for (int64_t i = 0; i < count; ++i) {
    const std::optional<int64_t> at = prior.pool_index(static_cast<uint64_t>(i));
    if (!at) return {};
    int64_t index = pool.at(static_cast<size_t>(*at));
    while (!source.try_read(index)) index = (index + 1) % source.size();  // as read_batch passes over a bad one
    sources.push_back(index);
  }
  return sources;
}

void require_finite(const at::Tensor& x, const PluginChoice& sampler, int64_t first) {
  if (at::isfinite(x).all().item<bool>()) return;
  throw PluginFailure(
      fmt::format("sampler \"{}\" diverged: images {} to {} have values that are not finite; take more steps, or "
                  "sample.clamp = true",
                  sampler.plugin->id(), first, first + x.size(0) - 1),
      "");
}

SampleSet draw_samples(const Pipeline& pipeline, const Model& model, const TrainedModel& trained,
                       const PluginChoice& choice, const SampleRequest& request) {
  const Prior prior = make_prior(pipeline, trained);
  const Denoiser denoiser = trained.denoiser(model);
  const Sampler sampler = make_sampler(choice);
  TrajectoryOptions options;
  options.nodes = sampling_nodes(trained.process->path(), pipeline.sample);
  options.seed = sample_seed(pipeline);
  options.clamp = pipeline.sample.flag("clamp");
  options.cancel = request.cancel;
  SampleSet set;
  int64_t evaluations = 0;  // of all images
  const int64_t batch = pipeline.sample.integer("batch");
  for (int64_t first = 0; first < request.count; first += batch) {
    const int64_t n = std::min(batch, request.count - first);
    std::vector<uint64_t> numbers(static_cast<size_t>(n));
    std::iota(numbers.begin(), numbers.end(), static_cast<uint64_t>(first));
    options.progress = [&](int64_t done, int64_t total) {
      if (request.progress) request.progress(first + n * done / total);
    };
    const Start start = prior.draw(static_cast<uint64_t>(first), n, tensor_options(pipeline));
    const Trajectory trajectory = run_trajectory(denoiser, sampler, start.x_1, start.keys, numbers, options);
    require_finite(trajectory.x, choice, first);
    const std::vector<ByteImage> images = to_byte_images(trajectory.x);
    set.images.insert(set.images.end(), images.begin(), images.end());
    evaluations += n * trajectory.nfe;
  }
  set.nfe = std::llround(static_cast<double>(evaluations) / static_cast<double>(request.count));
  return set;
}

void write_sample_files(const std::filesystem::path& folder, const std::vector<ByteImage>& images) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    const bool ours = std::regex_match(entry.path().filename().string(), std::regex("sample-[0-9]{4,}\\.png"));
    if (ours && entry.is_regular_file()) std::filesystem::remove(entry.path());
  }
  for (size_t i = 0; i < images.size(); ++i) write_png(folder / fmt::format("sample-{:04}.png", i), images[i]);
  const int64_t columns = static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(images.size()))));
  write_png(folder / "grid.png", make_grid(images, columns));
}

namespace {

// Counts evaluations; the estimate is x itself.
class CountingPath : public SamplerPath {
 public:
  explicit CountingPath(int64_t steps) {
    for (int64_t k = 1; k <= steps; ++k) nodes_.push_back(static_cast<double>(k) / static_cast<double>(steps));
  }
  const std::vector<double>& nodes() const override { return nodes_; }
  at::Tensor denoise(double, const at::Tensor& x) const override { return ++count_, x; }
  at::Tensor corrupt(double, const at::Tensor& x) const override { return x; }
  at::Tensor adjoint(double, const at::Tensor& x) const override { return x; }
  double sigma(double t) const override { return t; }
  int64_t count() const { return count_; }

 private:
  std::vector<double> nodes_;
  mutable int64_t count_ = 0;
};

}  // namespace

int64_t count_nfe(const PluginChoice& choice, int64_t steps) {
  const CountingPath path(steps);
  const Sampler sampler = make_sampler(choice);
  const std::vector<uint64_t> sample = {0};
  RandomScope random;
  random.purpose = Purpose::sampler;
  random.sample = sample;
  SamplerRun run(sampler, path, random, at::zeros({1, 1, 1, 1}, at::TensorOptions(at::kFloat)));
  for (int64_t k = steps - 1; k > 0; --k) run.step(static_cast<uint32_t>(k));
  return path.count() + 1;  // and the last denoise
}

AlongPath along_path(const Model& model, const TrainedModel& trained, const at::Tensor& x_0,
                     const std::vector<double>& times, uint64_t seed) {
  const Denoiser denoiser = trained.denoiser(model);
  std::vector<uint64_t> numbers(static_cast<size_t>(x_0.size(0))), keys;
  std::iota(numbers.begin(), numbers.end(), uint64_t{0});
  for (const uint64_t n : numbers) keys.push_back(key_of(seed, n));
  AlongPath along{times, std::vector<std::vector<ByteImage>>(numbers.size()),
                  std::vector<std::vector<ByteImage>>(numbers.size())};
  const at::Tensor eps = normal_like(x_0, seed, Purpose::prior, numbers, 0, 2);
  for (const double t : times) {
    const Points at = trained.process->at(t, keys);
    const at::Tensor x_t = trained.process->noisy(at, x_0, eps);
    const std::vector<ByteImage> seen = to_byte_images(x_t), believed = to_byte_images(denoiser.x0_hat(at, x_t));
    for (size_t i = 0; i < numbers.size(); ++i) {
      along.x_t[i].push_back(seen[i]);
      along.x0_hat[i].push_back(believed[i]);
    }
  }
  return along;
}

}  // namespace sdpipe
