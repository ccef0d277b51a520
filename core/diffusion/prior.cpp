#include "core/diffusion/prior.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <cstring>

#include "core/diffusion/dct.hpp"

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
  if (d <= pixel_covariance_limit) {
    const at::Tensor flat = centred.reshape({all.size(0), d});
    s.pixel_covariance = at::matmul(flat.t(), flat) / static_cast<double>(all.size(0));
  }
  return s;
}

NamedTensors PriorStatistics::named() const {
  NamedTensors tensors = {
      {"prior.pool", pool}, {"prior.pool_keys", pool_keys}, {"prior.mean", mean}, {"prior.dct_variance", dct_variance}};
  if (pixel_covariance.defined()) tensors["prior.pixel_covariance"] = pixel_covariance;
  return tensors;
}

PriorStatistics PriorStatistics::from(const NamedTensors& tensors) {
  const auto get = [&](const char* name) {
    const auto it = tensors.find(name);
    return it == tensors.end() ? at::Tensor() : it->second;
  };
  return {get("prior.pool"), get("prior.pool_keys"), get("prior.mean"), get("prior.dct_variance"),
          get("prior.pixel_covariance")};
}

Prior::Prior(const PriorStatistics& statistics, const Process& process, const PriorOptions& options)
    : statistics_(statistics), process_(process), options_(options) {
  if (options.prior == "empirical")
    pool_order_ = choose_images(statistics.pool.size(0), statistics.pool.size(0), options.seed);
  if (options.prior != "gaussian" || options.basis != "pixel") return;
  if (!statistics.pixel_covariance.defined()) {
    throw RunError(
        fmt::format("sample.basis = \"pixel\" needs the whole covariance, which is kept for images of at most {} "
                    "elements; use basis = \"dct\"",
                    pixel_covariance_limit));
  }
  const auto [values, vectors] = at::linalg_eigh(statistics.pixel_covariance);
  factor_ = vectors * values.clamp_min(0).sqrt();
}

// The mean of x_1 given what is drawn before its noise. Sets the keys where they come with the image.
at::Tensor Prior::mean_image(Start& start, const std::vector<uint64_t>& sample) const {
  const int64_t n = static_cast<int64_t>(sample.size());
  std::vector<int64_t> shape = statistics_.mean.sizes().vec();
  shape.insert(shape.begin(), n);
  at::Tensor mean = at::zeros(shape, at::TensorOptions(at::kDouble));
  if (options_.prior == "empirical") {
    for (int64_t i = 0; i < n; ++i) {
      const int64_t j = pool_order_[sample[static_cast<size_t>(i)] % pool_order_.size()];
      mean[i].copy_(statistics_.pool[j]);
      start.keys[static_cast<size_t>(i)] = key_at(statistics_.pool_keys, j);
    }
  } else if (options_.prior == "gaussian") {
    const at::Tensor z = normal_like(mean, options_.seed, Purpose::prior, sample, 0, 1);
    if (options_.basis == "dct")
      mean = statistics_.mean + inverse_dct2(z * statistics_.dct_variance.sqrt());
    else
      mean = statistics_.mean + at::matmul(z.reshape({n, -1}), factor_.t()).view(shape);
  }
  return mean;
}

Start Prior::draw(uint64_t first, int64_t count, const at::TensorOptions& tensor_options) const {
  std::vector<uint64_t> sample;
  Start start;
  for (uint64_t i = first; i < first + static_cast<uint64_t>(count); ++i) {
    sample.push_back(i);
    start.keys.push_back(key_of(options_.seed, i));
  }
  start.x_1 = mean_image(start, sample).to(tensor_options).contiguous();
  const double sigma_1 = process_.path().sigma(1);
  start.x_1.add_(normal_like(start.x_1, options_.seed, Purpose::prior, sample, 0, 0), sigma_1);
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
