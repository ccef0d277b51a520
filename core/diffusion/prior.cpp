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

#include "core/base/random.hpp"
#include "core/diffusion/dct.hpp"
#include "core/diffusion/low_rank.hpp"
#include "core/diffusion/table.hpp"

namespace sdpipe {
namespace {

at::Tensor keys_tensor(const DataCalibration& data) {
  std::vector<uint64_t> keys;
  for (uint32_t k = 0; k < data.n_batches(); ++k) keys.insert(keys.end(), data.keys(k).begin(), data.keys(k).end());
  at::Tensor tensor = at::empty({static_cast<int64_t>(keys.size())}, at::TensorOptions(at::kLong));
  std::memcpy(tensor.data_ptr<int64_t>(), keys.data(), keys.size() * sizeof(uint64_t));
  return tensor;
}

void add_mixture(NamedTensors& tensors, const MixtureStart& m) {
  tensors["prior.mixture_directions"] = m.directions;
  tensors["prior.mixture_facts"] = table_tensor(
      {m.share, static_cast<double>(m.images), static_cast<double>(m.asked), static_cast<double>(m.choice)});
  if (m.dimensions() == 0) return;
  tensors["prior.mixture_weights"] = m.mixture.weights;
  tensors["prior.mixture_means"] = m.mixture.means;
  tensors["prior.mixture_factors"] = m.mixture.factors;
  tensors["prior.mixture_tried"] = table_tensor(m.tried);
  tensors["prior.mixture_held_out"] = table_tensor(m.held_out);
}

std::optional<MixtureStart> mixture_from(const NamedTensors& tensors) {
  if (!tensors.contains("prior.mixture_directions")) return std::nullopt;
  const auto get = [&](const char* name) {
    const auto it = tensors.find(std::string("prior.mixture_") + name);
    if (it == tensors.end()) throw CheckpointError(fmt::format("\"prior.mixture_{}\" is missing", name));
    return it->second;
  };
  MixtureStart m;
  m.directions = get("directions");
  const std::vector<double> facts = table_values(get("facts"));
  m.share = facts.at(0);
  m.images = static_cast<int64_t>(facts.at(1));
  m.asked = static_cast<int64_t>(facts.at(2));
  m.choice = static_cast<size_t>(facts.at(3));
  if (m.dimensions() == 0) return m;
  m.mixture = {get("weights"), get("means"), get("factors")};
  m.tried = table_values(get("tried"));
  m.held_out = table_values(get("held_out"));
  return m;
}

uint64_t key_at(const at::Tensor& keys, int64_t i) { return static_cast<uint64_t>(keys.const_data_ptr<int64_t>()[i]); }

}  // namespace

PriorStatistics PriorStatistics::estimate(const DataCalibration& data, double level_1) {
  std::vector<at::Tensor> clean, corrupted;
  for (uint32_t k = 0; k < data.n_batches(); ++k) clean.push_back(data.batch(k).cpu());
  const at::Tensor all = at::cat(clean), exact = all.to(at::kDouble);
  PriorStatistics s;
  const int64_t kept = std::min(all.size(0), prior_pool);
  for (int64_t n = 0; n < kept; n += corrupted.back().size(0))
    corrupted.push_back(data.corrupt(static_cast<uint32_t>(corrupted.size()), level_1).cpu());
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
  if (mixture) add_mixture(tensors, *mixture);
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
          get("prior.clean_residual_variance"),
          mixture_from(tensors)};
}

GaussianImages PriorStatistics::gaussian_images() const { return {mean, low_rank, residual_variance.item<double>()}; }

namespace {

void require_covariance(const PriorStatistics& statistics) {
  if (statistics.dct_variance.defined() && statistics.low_rank.defined() && statistics.residual_variance.defined())
    return;
  throw RunError(
      "sample.prior = \"gaussian\" needs the covariance of the clean images, which this checkpoint does not hold, "
      "because an earlier version wrote it; use prior = \"empirical\", or train again");
}

const MixtureStart& mixture_of(const PriorStatistics& statistics, const PriorOptions& options) {
  if (!statistics.mixture) {
    throw RunError(
        "sample.prior = \"mixture\" needs a mixture fitted to the training images, which this checkpoint does not "
        "hold, "
        "because an earlier version wrote it; use prior = \"empirical\" or \"gaussian\", or train again");
  }
  const MixtureStart& m = *statistics.mixture;
  if (options.components == 0 || m.dimensions() == 0 || options.components == m.asked ||
      options.components == m.mixture.components())
    return m;
  throw RunError(
      fmt::format("sample.prior_components = {} acts where the mixture is fitted, before the training, and this "
                  "checkpoint's has {} "
                  "component{}; leave the key out, or train again under another run.name",
                  options.components, m.mixture.components(), m.mixture.components() == 1 ? "" : "s"));
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

// 2 is low_rank.cpp's, 6 mixture_start.cpp's.
constexpr uint32_t draw_of_noise = 0, draw_of_directions = 1, draw_of_residual = 3, draw_of_component = 4,
                   draw_of_coordinates = 5;

}  // namespace

Prior::Prior(const PriorStatistics& statistics, const Process& process, const PriorOptions& options)
    : statistics_(statistics), process_(process), options_(options) {
  if (options.prior == "empirical")
    pool_order_ = choose_images(statistics.pool.size(0), statistics.pool.size(0), options.seed);
  if (options.prior == "mixture") {
    const MixtureStart& m = mixture_of(statistics, options);
    options_.basis = "low_rank";  // what is not in the mixture is Gaussian
    if (m.dimensions() > 0) {
      directions_ = m.directions.flatten(1).to(at::kDouble);
      coordinates_ = coordinates_of(statistics.gaussian_images(), m.directions);
      cumulated_weights_ = table_values(m.mixture.weights.cumsum(0));
    }
  } else if (options.prior == "gaussian") {
    require_covariance(statistics);
  } else {
    return;
  }
  if (options_.basis == "pixel") factor_ = pixel_factor(statistics);
  if (options_.basis == "low_rank") {
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
  if (directions_.defined()) move_to_mixture(x, sample);
  return x;
}

// x + W (z - P (x - m)), z from the mixture: the component by one uniform number, then mu_k + L_k times normal ones.
void Prior::move_to_mixture(at::Tensor& x, const std::vector<uint64_t>& sample) const {
  const Mixture& m = statistics_.mixture->mixture;
  const at::Tensor normals = normal(at::empty({x.size(0), m.dimensions()}, x.options()), sample, draw_of_coordinates);
  at::Tensor move = -at::matmul((x - statistics_.mean).flatten(1), coordinates_.t());
  for (size_t i = 0; i < sample.size(); ++i) {
    const double u = random_uniform({options_.seed, Purpose::prior, sample[i], 0, draw_of_component});
    const auto at = std::upper_bound(cumulated_weights_.begin(), cumulated_weights_.end() - 1, u);
    const int64_t k = at - cumulated_weights_.begin(), row = static_cast<int64_t>(i);
    move[row].add_(m.means[k] + at::matmul(m.factors[k], normals[row]));
  }
  x.add_(at::matmul(move, directions_).view_as(x));
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
  else if (options_.prior != "noise")
    start.x_1 = process_.corrupt(process_.at(1, start.keys), clean_images(sample).to(tensor_options).contiguous());
  else
    start.x_1 = at::zeros(batch_shape(statistics_.mean, sample.size()), tensor_options);
  start.x_1.add_(normal(start.x_1, sample, draw_of_noise), process_.path().sigma(1));
  return start;
}

namespace {

std::string describe_mixture(const MixtureStart& m) {
  if (m.dimensions() == 0) {
    return "mixture: C_1 leaves nothing of the training images above the noise but their mean, so that trajectories "
           "start "
           "from C_1 x + sigma_1 eps with x Gaussian";
  }
  std::string text = fmt::format(
      "mixture: trajectories start from C_1 x + sigma_1 eps, x drawn from {} Gaussian{} over the {} direction{} that "
      "C_1 "
      "leaves above the noise; no training image is kept. Fitted to {} images; log-likelihood of images that the fit "
      "did "
      "not see, in nats an image: {:.2f}, with one Gaussian {:.2f}. The directions hold {:.1f} % of the variance above "
      "the "
      "noise",
      m.mixture.components(), m.mixture.components() == 1 ? "" : "s", m.dimensions(), m.dimensions() == 1 ? "" : "s",
      m.images, m.held_out.at(m.choice), m.held_out.front(), 100 * m.share);
  if (m.share < enough_of_the_start) text += ": the start is Gaussian in the rest";
  return text;
}

}  // namespace

std::string Prior::describe() const {
  if (options_.prior == "empirical") {
    return "empirical: every trajectory starts from a corrupted training image (C_1 x_0 + sigma_1 eps), so samples may "
           "stay near that image";
  }
  if (options_.prior == "mixture") return describe_mixture(*statistics_.mixture);
  if (options_.prior == "noise") return "noise: trajectories start from sigma_1 eps";
  return fmt::format(
      "gaussian ({}): trajectories start from C_1 x + sigma_1 eps, x Gaussian with the mean and covariance of the "
      "training images",
      options_.basis);
}

}  // namespace sdpipe
