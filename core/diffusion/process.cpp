#include "core/diffusion/process.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>

#include "core/base/random.hpp"

namespace sdpipe {

Path::Path(std::vector<double> level, std::vector<double> sigma) : level_(std::move(level)), sigma_(std::move(sigma)) {
  if (level_.size() != sigma_.size() || level_.size() < 2)
    throw RunError("a path needs as many levels as sigmas, two at least");
}

double Path::interpolate(const std::vector<double>& values, double t) {
  const double place = std::clamp(t, 0.0, 1.0) * static_cast<double>(values.size() - 1);
  const size_t i = std::min(static_cast<size_t>(place), values.size() - 2);
  return std::lerp(values[i], values[i + 1], place - static_cast<double>(i));
}

double Path::time_of_sigma(double sigma) const {
  const auto above = std::lower_bound(sigma_.begin() + 1, sigma_.end() - 1, sigma);
  const size_t i = static_cast<size_t>(above - sigma_.begin()) - 1;
  const double within = (sigma - sigma_[i]) / (sigma_[i + 1] - sigma_[i]);
  return (static_cast<double>(i) + std::clamp(within, 0.0, 1.0)) / static_cast<double>(sigma_.size() - 1);
}

bool Path::sigma_rises_strictly() const {
  return std::adjacent_find(sigma_.begin(), sigma_.end(), std::greater_equal<>()) == sigma_.end();
}

uint64_t key_of(uint64_t seed, uint64_t sample) { return random_bits({seed, Purpose::key, sample}); }

Points Process::at(std::vector<double> t, std::vector<uint64_t> keys) const {
  Points points;
  for (const double time : t) {
    points.level.push_back(path_.level(time));
    points.sigma.push_back(path_.sigma(time));
  }
  points.t = std::move(t);
  points.key = std::move(keys);
  return points;
}

Points Process::at(double t, const std::vector<uint64_t>& keys) const {
  return at(std::vector<double>(keys.size(), t), keys);
}

at::Tensor Process::noisy(const Points& at, const at::Tensor& x_0, const at::Tensor& eps) const {
  return corrupt(at, x_0).addcmul_(per_sample(at.sigma, x_0), eps);
}

at::Tensor per_sample(std::span<const double> values, const at::Tensor& x) {
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[0] = static_cast<int64_t>(values.size());
  return at::tensor(at::ArrayRef<double>(values.data(), values.size()), at::TensorOptions(at::kDouble))
      .view(shape)
      .to(x.options());
}

at::Tensor normal_like(const at::Tensor& x, uint64_t seed, Purpose purpose, std::span<const uint64_t> sample,
                       uint32_t step, uint32_t draw) {
  at::Tensor noise = at::empty_like(x);
  RandomScope scope;
  scope.seed = seed;
  scope.purpose = purpose;
  scope.sample = sample;
  scope.step = step;
  scope.fill(SDP_NORMAL, draw, noise);
  return noise;
}

}  // namespace sdpipe
