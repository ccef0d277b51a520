#include "plugins/models/ncsnpp/noise_levels.hpp"

#include <ATen/TensorOperators.h>

#include <cmath>

#include "plugins/models/nn/embedding.hpp"

namespace sdpipe::ncsnpp {

namespace {

// sigma_max .. sigma_min in num_scales geometric steps, index 0 the largest: ln sigma(i) = ln sigma_max - i * step.
double log_step(const Settings& s) {
  return std::log(s.sigma_max / s.sigma_min) / static_cast<double>(s.num_scales - 1);
}

at::Tensor within_indices(const Settings& s, const at::Tensor& index) {
  return index.clamp(0, static_cast<double>(s.num_scales - 1));
}

}  // namespace

at::Tensor embedded_condition(const Settings& s, const sdp::Pass& pass, const at::Tensor& sigma) {
  const at::Tensor condition = nn::condition_of(s, pass, sigma);
  if (s.embedding_type == Embedding::fourier) return nn::away_from_zero(condition);
  if (s.condition != nn::Condition::sigma) return condition;
  return within_indices(s, ((condition.log() - std::log(s.sigma_max)) * (-1 / log_step(s))).round());
}

at::Tensor sigma_of(const Settings& s, const at::Tensor& condition) {
  if (s.embedding_type == Embedding::fourier) return condition;
  return (std::log(s.sigma_max) - within_indices(s, condition.floor()) * log_step(s)).exp();
}

}  // namespace sdpipe::ncsnpp
