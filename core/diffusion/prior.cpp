#include "core/diffusion/prior.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/diffusion/dct.hpp"
#include "core/diffusion/low_rank.hpp"

namespace sdpipe {
namespace {

at::Tensor keys_tensor(const DataCalibration& data) {
  std::vector<uint64_t> keys;
  for (uint32_t k = 0; k < data.n_batches(); ++k) keys.insert(keys.end(), data.keys(k).begin(), data.keys(k).end());
  at::Tensor tensor = at::empty({static_cast<int64_t>(keys.size())}, at::TensorOptions(at::kLong));
  std::memcpy(tensor.data_ptr<int64_t>(), keys.data(), keys.size() * sizeof(uint64_t));
  return tensor;
}

uint64_t key_at(const at::Tensor& keys, int64_t i) { return static_cast<uint64_t>(keys.const_data_ptr<int64_t>()[i]); }

}  // namespace

PriorStatistics PriorStatistics::estimate(const DataCalibration& data) {
  std::vector<at::Tensor> clean, corrupted;
  for (uint32_t k = 0; k < data.n_batches(); ++k) clean.push_back(data.batch(k).cpu());
  const at::Tensor all = at::cat(clean), exact = all.to(at::kDouble);
  PriorStatistics s;
  const int64_t kept = std::min(all.size(0), prior_pool);
  for (int64_t n = 0; n < kept; n += corrupted.back().size(0))
    corrupted.push_back(data.corrupt(static_cast<uint32_t>(corrupted.size()), data.level_max()).cpu());
  s.pool = at::cat(corrupted).slice(0, 0, kept).contiguous();
  s.pool_keys = keys_tensor(data).slice(0, 0, kept).contiguous();
  s.mean = exact.mean(at::IntArrayRef{0});
  const at::Tensor centred = exact - s.mean;
  s.dct_variance = dct2(centred).square().mean(at::IntArrayRef{0});
  const int64_t d = s.mean.numel();
  const at::Tensor flat = centred.reshape({all.size(0), d});
  if (d <= pixel_covariance_limit) s.pixel_covariance = at::matmul(flat.t(), flat) / static_cast<double>(all.size(0));
  // n centred images span n - 1 directions.
  const LowRank largest = principal_components(flat, std::clamp<int64_t>(all.size(0) - 1, 1, std::min(prior_rank, d)));
  std::vector<int64_t> shape = s.mean.sizes().vec();
  shape.insert(shape.begin(), largest.factor.size(0));
  s.low_rank = largest.factor.view(shape).to(all.scalar_type());
  s.residual_variance = at::full({1}, largest.residual_variance, at::TensorOptions(at::kDouble));
  return s;
}

// "clean": an earlier version kept the covariance of the corrupted images under the plain names.
NamedTensors PriorStatistics::named() const {
  NamedTensors tensors = {{"prior.pool", pool},
                          {"prior.pool_keys", pool_keys},
                          {"prior.mean", mean},
                          {"prior.clean_dct_variance", dct_variance},
                          {"prior.clean_pixel_covariance", pixel_covariance},
                          {"prior.clean_low_rank", low_rank},
                          {"prior.clean_residual_variance", residual_variance}};
  std::erase_if(tensors, [](const auto& tensor) { return !tensor.second.defined(); });
  return tensors;
}

PriorStatistics PriorStatistics::from(const NamedTensors& tensors) {
  const auto get = [&](const char* name) {
    const auto it = tensors.find(name);
    return it == tensors.end() ? at::Tensor() : it->second;
  };
  return {get("prior.pool"),
          get("prior.pool_keys"),
          get("prior.mean"),
          get("prior.clean_dct_variance"),
          get("prior.clean_pixel_covariance"),
          get("prior.clean_low_rank"),
          get("prior.clean_residual_variance")};
}

namespace {

void require_covariance(const PriorStatistics& statistics) {
  if (statistics.dct_variance.defined() && statistics.low_rank.defined() && statistics.residual_variance.defined())
    return;
  throw RunError(
      "sample.prior = \"gaussian\" needs the covariance of the clean images, which this checkpoint does not hold, "
      "because an earlier version wrote it; use prior = \"empirical\", or train again");
}

at::Tensor pixel_factor(const PriorStatistics& statistics) {
  if (!statistics.pixel_covariance.defined()) {
    throw RunError(
        fmt::format("sample.basis = \"pixel\" needs the whole covariance, which is kept for images of at most {} "
                    "elements; use basis = \"low_rank\" or \"dct\"",
                    pixel_covariance_limit));
  }
  const auto [values, vectors] = at::linalg_eigh(statistics.pixel_covariance);
  return vectors * values.clamp_min(0).sqrt();
}

std::vector<int64_t> batch_shape(const at::Tensor& one, size_t n) {
  std::vector<int64_t> shape = one.sizes().vec();
  shape.insert(shape.begin(), static_cast<int64_t>(n));
  return shape;
}

constexpr uint32_t draw_of_noise = 0, draw_of_directions = 1, draw_of_residual = 3;  // 2 is low_rank.cpp's

}  // namespace

Prior::Prior(const PriorStatistics& statistics, const Process& process, const PriorOptions& options)
    : statistics_(statistics), process_(process), options_(options) {
  if (options.prior == "empirical")
    pool_order_ = choose_images(statistics.pool.size(0), statistics.pool.size(0), options.seed);
  if (options.prior != "gaussian") return;
  require_covariance(statistics);
  if (options.basis == "pixel") factor_ = pixel_factor(statistics);
  if (options.basis == "low_rank") {
    factor_ = statistics.low_rank.flatten(1).t().to(at::kDouble);
    residual_std_ = std::sqrt(statistics.residual_variance.item<double>());
  }
}

at::Tensor Prior::normal(const at::Tensor& like, const std::vector<uint64_t>& sample, uint32_t draw) const {
  return normal_like(like, options_.seed, Purpose::prior, sample, 0, draw);
}

// Images of the pool with the keys that corrupted them.
at::Tensor Prior::from_pool(const std::vector<uint64_t>& sample, std::vector<uint64_t>& keys) const {
  at::Tensor x = at::empty(batch_shape(statistics_.mean, sample.size()), statistics_.pool.options());
  for (size_t i = 0; i < sample.size(); ++i) {
    const int64_t j = *pool_index(sample[i]);
    x[static_cast<int64_t>(i)].copy_(statistics_.pool[j]);
    keys[i] = key_at(statistics_.pool_keys, j);
  }
  return x;
}

// mean + F z + sqrt(r) eta
at::Tensor Prior::clean_images(const std::vector<uint64_t>& sample) const {
  const std::vector<int64_t> shape = batch_shape(statistics_.mean, sample.size());
  const at::Tensor like = at::empty(shape, statistics_.mean.options());
  if (!factor_.defined()) {
    const at::Tensor z = normal(like, sample, draw_of_directions);
    return statistics_.mean + inverse_dct2(z * statistics_.dct_variance.sqrt());
  }
  const at::Tensor z = normal(at::empty({shape[0], factor_.size(1)}, like.options()), sample, draw_of_directions);
  at::Tensor x = statistics_.mean + at::matmul(z, factor_.t()).view(shape);
  if (residual_std_ > 0) x.add_(normal(like, sample, draw_of_residual), residual_std_);
  return x;
}

std::optional<int64_t> Prior::pool_index(uint64_t sample) const {
  if (pool_order_.empty()) return std::nullopt;
  return pool_order_[sample % pool_order_.size()];
}

Start Prior::draw(uint64_t first, int64_t count, const at::TensorOptions& tensor_options) const {
  std::vector<uint64_t> sample;
  Start start;
  for (uint64_t i = first; i < first + static_cast<uint64_t>(count); ++i) {
    sample.push_back(i);
    start.keys.push_back(key_of(options_.seed, i));
  }
  if (options_.prior == "empirical")
    start.x_1 = from_pool(sample, start.keys).to(tensor_options);
  else if (options_.prior == "gaussian")
    start.x_1 = process_.corrupt(process_.at(1, start.keys), clean_images(sample).to(tensor_options).contiguous());
  else
    start.x_1 = at::zeros(batch_shape(statistics_.mean, sample.size()), tensor_options);
  start.x_1.add_(normal(start.x_1, sample, draw_of_noise), process_.path().sigma(1));
  return start;
}

std::string Prior::describe() const {
  if (options_.prior == "empirical") {
    return "empirical: every trajectory starts from a corrupted training image (C_1 x_0 + sigma_1 eps), so samples may "
           "stay near that image";
  }
  if (options_.prior == "noise") return "noise: trajectories start from sigma_1 eps";
  return fmt::format(
      "gaussian ({}): trajectories start from C_1 x + sigma_1 eps, x Gaussian with the mean and covariance of the "
      "training images",
      options_.basis);
}

}  // namespace sdpipe
