#include "core/diffusion/linear_estimate.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>

namespace sdpipe {
namespace {

// x -> m x on flattened samples; m (d, d).
LinearMap dense(const at::Tensor& m) {
  return {[m](const at::Tensor& x) { return at::matmul(x.flatten(1), m.t()).view(x.sizes()); },
          [m](const at::Tensor& x) { return at::matmul(x.flatten(1), m).view(x.sizes()); }};
}

// B = V diag(sqrt(lambda)) with the eigenvectors V and eigenvalues lambda of S.
LinearMap whole_root(const at::Tensor& covariance, const at::Tensor& like) {
  const auto [values, vectors] = at::linalg_eigh(covariance);
  return dense((vectors * values.clamp_min(0).sqrt()).to(like.options()));
}

// B = S^(1/2) = sqrt(r) I + sum_i f_i f_i^T (sqrt(|f_i|^2 + r) - sqrt(r)) / |f_i|^2, for rows f_i of F that are
// orthogonal to each other, as those of low_rank.hpp are.
LinearMap low_rank_root(const at::Tensor& factor, double residual_variance, const at::Tensor& like) {
  const at::Tensor f = factor.flatten(1).to(at::kDouble), power = f.square().sum(1);
  const double residual = std::sqrt(residual_variance);
  const at::Tensor sum = (power + residual_variance).sqrt() + residual;
  const at::Tensor weight = at::where(sum > 0, sum.reciprocal(), at::zeros_like(sum));
  const at::Tensor rows = f.to(like.options()), weighted = (weight.unsqueeze(1) * f).to(like.options());
  const auto root = [=](const at::Tensor& x) {
    const at::Tensor flat = x.flatten(1);
    return (flat * residual + at::matmul(at::matmul(flat, weighted.t()), rows)).view(x.sizes());
  };
  return {root, root};
}

}  // namespace

std::optional<GaussianLaw> law_of_images(const PriorStatistics& s, const at::Tensor& like) {
  const auto law = [&](const char* basis, LinearMap root) {
    return GaussianLaw{basis, s.mean.to(like.options()), std::move(root)};
  };
  if (s.pixel_covariance.defined()) return law("pixel", whole_root(s.pixel_covariance, like));
  if (s.low_rank.defined() && s.residual_variance.defined())
    return law("low_rank", low_rank_root(s.low_rank, s.residual_variance.item<double>(), like));
  if (s.dct_variance.defined()) return law("dct", dct_root(s.dct_variance, like));
  return std::nullopt;
}

// With d = B z the estimate is the minimum of |y - A m - A B z|^2 / sigma_y^2 + |z|^2.
at::Tensor linear_estimate(const GaussianLaw& law, const Measurement& a, const at::Tensor& y) {
  const bool exact = y.scalar_type() == at::kDouble;
  const ConjugateLimits limits{exact ? 1e-8 : 1e-6, exact ? 500 : 200};
  const at::Tensor mean = law.mean.expand_as(y).contiguous();
  const double noise = a.sigma() * a.sigma();
  return mean + law.root.apply(least_squares(product(a.map(), law.root), {noise}, y - a.apply(mean), limits));
}

}  // namespace sdpipe
