#include "core/evaluation/restored.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_upsample_bicubic2d_aa.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "core/diffusion/assembly.hpp"

namespace sdpipe {
namespace {

std::vector<uint64_t> numbers_from(int64_t first, int64_t n) {
  std::vector<uint64_t> numbers(static_cast<size_t>(n));
  std::iota(numbers.begin(), numbers.end(), static_cast<uint64_t>(first));
  return numbers;
}

// f(first, n) for the batches of `total` images.
template <class F>
void for_batches(int64_t total, int64_t batch, F f) {
  for (int64_t first = 0; first < total; first += batch) f(first, std::min(batch, total - first));
}

// One batch of a posterior sampling: from the prior at t = 1 with a denoiser that knows of y.
class PosteriorSampling {
 public:
  PosteriorSampling(const Pipeline& pipeline, const TrainedModel& trained)
      : prior_(make_prior(pipeline, trained)), nodes_(sampling_nodes(trained.process->path(), pipeline.sample)) {}
  // `plain` knows nothing of y, `informed` does.
  Trajectory run(const Denoiser& plain, const Denoiser& informed, const Sampler& sampler, const Measurement& a,
                 const at::Tensor& y, const std::vector<uint64_t>& numbers, TrajectoryOptions options) const {
    options.nodes = nodes_;
    const Start start = prior_.draw(numbers.front(), static_cast<int64_t>(numbers.size()), y.options());
    const at::Tensor x_1 = posterior_start(plain, a, y, start.x_1, start.keys);
    Trajectory trajectory = run_trajectory(informed, sampler, x_1, start.keys, numbers, options);
    ++trajectory.nfe;  // of the start
    return trajectory;
  }

 private:
  Prior prior_;
  std::vector<double> nodes_;
};

}  // namespace

Measurement Observation::measurement(int64_t first, int64_t n) const {
  std::vector<uint64_t> keys;
  for (const uint64_t i : numbers_from(first, n)) keys.push_back(key_of(seed, i));
  return Measurement(corruption, level, std::move(keys), sigma);
}

Observation observe(const at::Tensor& x_0, std::shared_ptr<const Corruption> corruption, double level, double sigma,
                    uint64_t seed) {
  Observation seen{{}, std::move(corruption), level, sigma, seed};
  seen.y = seen.measurement(0, x_0.size(0)).observe(x_0, seed, numbers_from(0, x_0.size(0)));
  return seen;
}

const std::vector<std::string>& restoration_methods() {
  static const std::vector<std::string> methods = {"reverse", "projection", "guidance"};
  return methods;
}

Restored restore_images(const Pipeline& pipeline, const Model& model, const TrainedModel& trained,
                        const Observation& seen, const RestoreRequest& request) {
  const Denoiser denoiser = trained.denoiser(model);
  const Sampler sampler = make_sampler(pipeline.sampler);
  std::optional<PosteriorSampling> posterior;  // "reverse" has no use for a prior, which the run may be too old for
  if (request.method != "reverse") posterior.emplace(pipeline, trained);
  TrajectoryOptions options;
  options.seed = static_cast<uint64_t>(pipeline.sample.integer("seed"));
  options.clamp = pipeline.sample.flag("clamp");
  options.cancel = request.cancel;
  Restored restored;
  std::vector<at::Tensor> parts;
  const int64_t count = seen.y.size(0);
  int64_t evaluations = 0;  // of all images
  for_batches(count, pipeline.sample.integer("batch"), [&](int64_t first, int64_t n) {
    const at::Tensor y = seen.y.slice(0, first, first + n).contiguous();
    const Measurement a = seen.measurement(first, n);
    int64_t drawn = 0;
    std::vector<uint64_t> numbers;  // of the samples: the k-th of image i is number k count + i
    options.progress = [&](int64_t done, int64_t total) {
      if (request.progress) request.progress(first + n * (drawn * total + done) / (request.average * total));
    };
    const auto run = [&] {
      if (request.method == "reverse")
        return restore_by_reversing(denoiser, sampler, a, y, pipeline.sample.integer("steps"), numbers, options);
      if (request.method == "projection")
        return posterior->run(denoiser, ProjectedDenoiser(denoiser, a, y), sampler, a, y, numbers, options);
      if (request.method == "guidance")
        return posterior->run(denoiser, GuidedDenoiser(denoiser, a, y, request.strength), sampler, a, y, numbers,
                              options);
      throw RunError("no restoration method named \"" + request.method + "\"");
    };
    at::Tensor sum = at::zeros_like(y);
    for (; drawn < request.average; ++drawn) {
      numbers = numbers_from(drawn * count + first, n);
      const Trajectory trajectory = run();
      require_finite(trajectory.x, pipeline.sampler, first);
      sum.add_(trajectory.x);
      evaluations += n * trajectory.nfe;
    }
    parts.push_back(sum / static_cast<double>(request.average));
  });
  restored.x = at::cat(parts);
  restored.nfe = std::llround(static_cast<double>(evaluations) / static_cast<double>(count));
  return restored;
}

namespace {

// estimate(A, y) of every batch.
template <class F>
at::Tensor by_batches(const Observation& seen, int64_t batch, F estimate) {
  std::vector<at::Tensor> parts;
  for_batches(seen.y.size(0), batch, [&](int64_t first, int64_t n) {
    parts.push_back(estimate(seen.measurement(first, n), seen.y.slice(0, first, first + n).contiguous()));
  });
  return at::cat(parts);
}

}  // namespace

at::Tensor pseudo_inverses(const Observation& seen, int64_t batch) {
  return by_batches(seen, batch, [](const Measurement& a, const at::Tensor& y) { return pseudo_inverse(a, y); });
}

at::Tensor linear_estimates(const Observation& seen, const GaussianLaw& law, int64_t batch) {
  return by_batches(seen, batch, [&](const Measurement& a, const at::Tensor& y) { return linear_estimate(law, a, y); });
}

namespace {

// The means of blocks of side x side pixels, the first at the upper left corner, cut ones at the other edges.
at::Tensor block_means(const at::Tensor& x, int64_t side) {
  return at::avg_pool2d(x, side, side, /*padding=*/0, /*ceil_mode=*/true, /*count_include_pad=*/false);
}

at::Tensor replicated(const at::Tensor& means, int64_t side, const at::Tensor& like) {
  const at::Tensor whole = at::repeat_interleave(at::repeat_interleave(means, side, -1), side, -2);
  return whole.slice(-2, 0, like.size(-2)).slice(-1, 0, like.size(-1));
}

}  // namespace

std::optional<int64_t> side_of_blocks(const Observation& seen) {
  const at::Tensor like = seen.y.slice(0, 0, 1);
  const at::Tensor place = at::arange(like.numel(), like.options().dtype(at::kDouble));
  const at::Tensor probe = place.square().sin().to(like.options()).view_as(like);  // a pattern without period
  const at::Tensor shown = seen.measurement(0, 1).apply(probe.contiguous());
  for (int64_t side = std::max(like.size(-2), like.size(-1)) - 1; side > 1; --side) {
    const at::Tensor blocks = replicated(block_means(probe, side), side, probe);
    if ((shown - blocks).abs().max().item<double>() < 1e-5) return side;
  }
  return std::nullopt;
}

at::Tensor enlarged_blocks(const at::Tensor& y, int64_t side) {
  const int64_t height = y.size(-2), width = y.size(-1);
  const int64_t factor = std::min(side, std::max(height, width));  // a block larger than the image is the image
  const at::Tensor means = block_means(y, factor);
  // Without antialiasing ATen's filter has a = -3/4; with it, which changes nothing where pictures grow, a = -1/2.
  const at::Tensor whole = at::_upsample_bicubic2d_aa(means, {means.size(-2) * factor, means.size(-1) * factor},
                                                      /*align_corners=*/false);
  return whole.slice(-2, 0, height).slice(-1, 0, width).contiguous();
}

}  // namespace sdpipe
