#include "core/training/optimizer.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "core/abi/torch_parallel.hpp"
#include "core/training/adam.hpp"
#ifdef SDPIPE_CUDA
#include <ATen/ops/empty.h>
#include <c10/core/DeviceGuard.h>

#include "core/host/gpu.hpp"
#include "core/training/optimizer_cuda.hpp"
#endif

namespace sdpipe {

OptimizerOptions optimizer_options(const Settings& train) {
  OptimizerOptions options;
  options.learning_rate = train.real("learning_rate");
  options.warmup_images = train.integer("warmup_images");
  options.cosine = train.text("decay") == "cosine";
  options.images = train.integer("images");
  const auto& betas = train.get<std::vector<double>>("betas");
  options.beta1 = betas.at(0);
  options.beta2 = betas.at(1);
  options.clip_norm = train.real("clip_norm");
  options.ema_decay = train.real("ema_decay");
  return options;
}

double learning_rate(const OptimizerOptions& o, int64_t images_seen, int64_t batch) {
  const double seen = static_cast<double>(images_seen + batch), warmup = static_cast<double>(o.warmup_images);
  if (seen < warmup) return o.learning_rate * seen / warmup;
  if (!o.cosine) return o.learning_rate;
  const double length = static_cast<double>(o.images) - warmup;
  const double done = length > 0 ? std::clamp((static_cast<double>(images_seen) - warmup) / length, 0.0, 1.0) : 1.0;
  return o.learning_rate * 0.5 * (1 + std::cos(std::numbers::pi * done));
}

namespace {

constexpr int64_t block = 1 << 14;  // fixed, so that no sum depends on the number of threads

template <class T>
double norm_of(const T* x, int64_t n) {
  std::vector<double> sums(static_cast<size_t>((n + block - 1) / block));
  sdp::parallel_blocks(n, block, [&](int64_t first, int64_t last) {
    double sum = 0;
    for (int64_t i = first; i < last; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    sums[static_cast<size_t>(first / block)] = sum;
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

template <class F>
void by_type(const at::Tensor& x, F&& f) {
  if (x.scalar_type() == at::kDouble)
    f(double{});
  else
    f(float{});
}

#ifdef SDPIPE_CUDA
double norm_on_gpu(const at::Tensor& flat) {
  const c10::DeviceGuard on_its_device(flat.device());
  const size_t n = static_cast<size_t>(flat.numel());
  const at::Tensor sums =  // the last is the total
      at::empty({static_cast<int64_t>(square_sum_blocks(n)) + 1}, flat.options().dtype(at::kDouble));
  double *blocks = sums.data_ptr<double>(), *total = blocks + square_sum_blocks(n);
  by_type(flat, [&](auto zero) {
    require_started(
        launch_square_sum(flat.const_data_ptr<decltype(zero)>(), n, blocks, total, current_stream(flat.device())),
        "the gradient's norm");
  });
  return std::sqrt(sums[sums.numel() - 1].item<double>());
}
#endif

}  // namespace

double flat_norm(const at::Tensor& flat) {
#ifdef SDPIPE_CUDA
  if (flat.is_cuda()) return norm_on_gpu(flat);
#endif
  double norm = 0;
  by_type(flat, [&](auto zero) { norm = norm_of(flat.const_data_ptr<decltype(zero)>(), flat.numel()); });
  return norm;
}

void fused_step(at::Tensor& p, const at::Tensor& gradient, double gradient_norm, Moments& moments, at::Tensor& ema,
                const OptimizerOptions& o, double lr, int64_t n) {
  const double count = static_cast<double>(n);
  const double clip = o.clip_norm > 0 && gradient_norm > o.clip_norm ? o.clip_norm / gradient_norm : 1;
  const double decay = std::min(o.ema_decay, (1 + count) / (10 + count));
  by_type(p, [&](auto zero) {
    using T = decltype(zero);
    // Of the betas as T rounds them, which the moments decay by: in float32 1 - 0.999 is off by 5e-5 of itself.
    const auto b1 = static_cast<T>(o.beta1), b2 = static_cast<T>(o.beta2);
    const double correction1 = 1 - std::pow(static_cast<double>(b1), count),
                 correction2 = 1 - std::pow(static_cast<double>(b2), count);
    const AdamConstants<T> c{static_cast<T>(clip),
                             b1,
                             b2,
                             static_cast<T>(lr / correction1),
                             static_cast<T>(1 / std::sqrt(correction2)),
                             static_cast<T>(1e-8),
                             static_cast<T>(decay)};
    T *values = p.data_ptr<T>(), *m = moments.m.data_ptr<T>(), *v = moments.v.data_ptr<T>(),
      *average = ema.data_ptr<T>();
    const T* g = gradient.const_data_ptr<T>();
#ifdef SDPIPE_CUDA
    if (p.is_cuda()) {
      const c10::DeviceGuard on_its_device(p.device());
      return require_started(
          launch_adam(c, g, values, m, v, average, static_cast<size_t>(p.numel()), current_stream(p.device())),
          "the optimizer's step");
    }
#endif
    sdp::parallel_blocks(p.numel(), block, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) adam(c, g[i], values[i], m[i], v[i], average[i]);
    });
  });
}

}  // namespace sdpipe
