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
  std::vector<at::Tensor> corrupted;
  for (uint32_t k = 0; k < data.n_batches(); ++k) corrupted.push_back(data.corrupt(k, data.level_max()).cpu());
  const at::Tensor all = at::cat(corrupted), exact = all.to(at::kDouble);
  PriorStatistics s;
  const int64_t kept = std::min(all.size(0), prior_pool);
  s.pool = all.slice(0, 0, kept).contiguous();
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

NamedTensors PriorStatistics::named() const {
  NamedTensors tensors = {{"prior.pool", pool},
                          {"prior.pool_keys", pool_keys},
                          {"prior.mean", mean},
                          {"prior.dct_variance", dct_variance},
                          {"prior.pixel_covariance", pixel_covariance},
                          {"prior.low_rank", low_rank},
                          {"prior.residual_variance", residual_variance}};
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
          get("prior.dct_variance"),
          get("prior.pixel_covariance"),
          get("prior.low_rank"),
          get("prior.residual_variance")};
}

namespace {

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

void require_low_rank(const PriorStatistics& statistics) {
  if (statistics.low_rank.defined() && statistics.residual_variance.defined()) return;
  throw RunError(
      "sample.basis = \"low_rank\" needs statistics that this checkpoint does not hold, because an earlier version "
      "wrote it; use basis = \"dct\" or prior = \"empirical\", or train again");
}

}  // namespace

Prior::Prior(const PriorStatistics& statistics, const Process& process, const PriorOptions& options)
    : statistics_(statistics), process_(process), options_(options) {
  if (options.prior == "empirical")
    pool_order_ = choose_images(statistics.pool.size(0), statistics.pool.size(0), options.seed);
  if (options.prior != "gaussian") return;
  if (options.basis == "pixel") factor_ = pixel_factor(statistics);
  if (options.basis == "low_rank") {
    require_low_rank(statistics);
    factor_ = statistics.low_rank.flatten(1).t().to(at::kDouble);
    residual_std_ = std::sqrt(statistics.residual_variance.item<double>());
  }
}

// The mean of x_1 given what is drawn before its noise. Sets the keys where they come with the image.
at::Tensor Prior::mean_image(Start& start, const std::vector<uint64_t>& sample) const {
  const int64_t n = static_cast<int64_t>(sample.size());
  std::vector<int64_t> shape = statistics_.mean.sizes().vec();
  shape.insert(shape.begin(), n);
  at::Tensor mean = at::zeros(shape, at::TensorOptions(at::kDouble));
  if (options_.prior == "empirical") {
    for (int64_t i = 0; i < n; ++i) {
      const int64_t j = *pool_index(sample[static_cast<size_t>(i)]);
      mean[i].copy_(statistics_.pool[j]);
      start.keys[static_cast<size_t>(i)] = key_at(statistics_.pool_keys, j);
    }
  } else if (options_.prior == "gaussian") {
    const at::Tensor like = factor_.defined() ? at::empty({n, factor_.size(1)}, mean.options()) : mean;
    const at::Tensor z = normal_like(like, options_.seed, Purpose::prior, sample, 0, 1);
    if (factor_.defined())
      mean = statistics_.mean + at::matmul(z, factor_.t()).view(shape);
    else
      mean = statistics_.mean + inverse_dct2(z * statistics_.dct_variance.sqrt());
  }
  return mean;
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
  start.x_1 = mean_image(start, sample).to(tensor_options).contiguous();
  const double std = std::hypot(process_.path().sigma(1), residual_std_);
  start.x_1.add_(normal_like(start.x_1, options_.seed, Purpose::prior, sample, 0, 0), std);
  return start;
}

std::string Prior::describe() const {
  if (options_.prior == "empirical") {
    return "empirical: every trajectory starts from a corrupted training image (C_1 x_0 + sigma_1 eps), so samples may "
           "stay near that image";
  }
  if (options_.prior == "noise") return "noise: trajectories start from sigma_1 eps";
  return fmt::format(
      "gaussian ({}): trajectories start from a Gaussian with the mean and covariance of corrupted training images",
      options_.basis);
}

}  // namespace sdpipe
