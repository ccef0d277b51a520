#include "core/evaluation/frechet.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_svdvals.h>
#include <ATen/ops/matmul.h>

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace sdpipe {
namespace {

// An eigenvalue below the rounding error of the largest is none: its root would be far larger.
at::Tensor sound(const at::Tensor& values) {
  const double error = static_cast<double>(values.numel()) * std::numeric_limits<double>::epsilon();
  return values * values.gt(values.abs().max() * error);
}

// The symmetric root.
at::Tensor root(const at::Tensor& covariance) {
  const auto [values, vectors] = at::linalg_eigh(covariance);
  return at::matmul(vectors * sound(values).sqrt(), vectors.t());
}

}  // namespace

Gaussian fit_gaussian(const at::Tensor& points) {
  if (points.dim() != 2 || points.size(0) < 2) throw std::invalid_argument("a covariance of fewer than two points");
  const at::Tensor exact = points.to(at::kDouble), mean = exact.mean(at::IntArrayRef{0}), centred = exact - mean;
  return {mean, at::matmul(centred.t(), centred) / static_cast<double>(points.size(0) - 1)};
}

double frechet_distance(const Gaussian& a, const Gaussian& b) {
  const double between = (a.mean - b.mean).square().sum().item<double>();
  const double traces = (a.covariance.trace() + b.covariance.trace()).item<double>();
  const double cross = at::linalg_svdvals(at::matmul(root(a.covariance), root(b.covariance))).sum().item<double>();
  return std::max(between + traces - 2 * cross, 0.0);
}

double frechet_bias_times_n(const at::Tensor& covariance) {
  const at::Tensor l = sound(std::get<0>(at::linalg_eigh(covariance)));
  const at::Tensor products = l.unsqueeze(0) * l.unsqueeze(1), sums = l.unsqueeze(0) + l.unsqueeze(1);
  const at::Tensor pairs = products / sums.masked_fill(sums.eq(0), 1);
  return (l.sum() + (pairs.sum() + pairs.trace()) / 2).item<double>();
}

}  // namespace sdpipe
