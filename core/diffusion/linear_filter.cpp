#include "core/diffusion/linear_filter.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>

#include "core/diffusion/least_squares.hpp"

namespace sdpipe {
namespace {

constexpr ConjugateLimits filter_limits{1e-7, 10};

// c_k: what C_t makes of the image whose coefficients are all one.
at::Tensor response(const Corruption& corruption, const Points& at, const BasisChange& basis, const at::Tensor& like) {
  return basis.forward(corruption.apply(at, basis.inverse(at::ones_like(like)).contiguous()));
}

bool is_diagonal(const Corruption& corruption, const Points& at, const BasisChange& basis, const at::Tensor& random) {
  const at::Tensor answer = basis.forward(corruption.apply(at, basis.inverse(random).contiguous()));
  const double worst = (answer - response(corruption, at, basis, random) * random).abs().max().item<double>();
  return worst <= (random.scalar_type() == at::kDouble ? 1e-9 : 1e-4);
}

}  // namespace

Basis basis_of(const Process& process, const SampleShape& shape, const at::TensorOptions& options) {
  Points at;
  std::vector<uint64_t> sample;
  const auto probe = [&](double share) {
    sample.push_back(at.t.size());
    at.t.push_back(share);
    at.level.push_back(share * process.corruption().level_max());
    at.sigma.push_back(0);
    at.key.push_back(key_of(0, sample.back()));
  };
  for (int i = 1; i <= 16; ++i) probe(i / 16.0);
  // The windows of a composition may be short; and C(L) = 0 is diagonal in any basis.
  for (int i = 5; i <= 10; ++i) probe(std::ldexp(1, -i)), probe(1 - std::ldexp(1, -i));
  std::vector<int64_t> batch = shape;
  batch.insert(batch.begin(), static_cast<int64_t>(sample.size()));
  const at::Tensor random = normal_like(at::empty(batch, options), 0, Purpose::calibration, sample, 0, 1);
  for (const Basis basis : {Basis::dct, Basis::pixel}) {
    if (is_diagonal(process.corruption(), at, BasisChange(basis, random), random)) return basis;
  }
  return Basis::none;
}

BasisChange::BasisChange(Basis basis, const at::Tensor& like) {
  if (basis != Basis::pixel) dct_.emplace(like.size(-2), like.size(-1), like.options());
}

namespace {

// sigma^2 + c_k^2 p_k: the variance of coefficient k of x_t.
at::Tensor seen_variance(const FilterCoefficients& f) { return f.c.square() * f.p + f.sigma.square(); }

}  // namespace

at::Tensor FilterCoefficients::gain() const { return ratio_or_zero(p * c, seen_variance(*this)); }

at::Tensor FilterCoefficients::open() const {
  const at::Tensor seen = seen_variance(*this);
  return at::where(seen > 0, p * sigma.square() / seen, p.expand_as(seen)).sqrt();
}

at::Tensor FilterCoefficients::whitening() const {
  const at::Tensor seen = seen_variance(*this);
  return ratio_or_zero(at::ones_like(seen), seen.sqrt());
}

at::Tensor FilterCoefficients::visibility() const { return ratio_or_zero(c.square() * p, seen_variance(*this)); }

LinearFilter LinearFilter::estimate(const Process& process, const DataCalibration& data) {
  const at::Tensor first = data.batch(0);
  const SampleShape shape = first.sizes().slice(1).vec();
  const Basis basis = basis_of(process, shape, first.options());
  const auto average = [&](auto f) {
    at::Tensor sum;
    for (uint32_t k = 0; k < data.n_batches(); ++k) {
      const at::Tensor of_batch = f(data.batch(k).cpu().to(at::kDouble)).sum(at::IntArrayRef{0});
      sum = k == 0 ? of_batch : sum + of_batch;
    }
    return sum / static_cast<double>(data.n_images());
  };
  const at::Tensor mean = average([](const at::Tensor& x) { return x; });
  const BasisChange coefficients(basis, mean);
  return {basis, mean, average([&](const at::Tensor& x) { return coefficients.forward(x - mean).square(); })};
}

at::Tensor LinearFilter::means_like(const at::Tensor& x) const {
  return mean_.to(x.options()).expand_as(x).contiguous();
}

FilterCoefficients LinearFilter::coefficients(const Process& process, const Points& at, const at::Tensor& like) const {
  const at::Tensor c = response(process.corruption(), at, BasisChange(basis_, like), like).to(at::kDouble);
  return {c, variance_.to(c.options()), per_sample(at.sigma, c)};
}

namespace {

// A = C_t B / sigma_t with B B^T = S, and 1 / sigma_t. W(x) - m = B z with z = argmin |y / sigma - A z|^2 + |z|^2.
struct ScaledProblem {
  ScaledProblem(const Process& process, const Points& at, const at::Tensor& variance, const at::Tensor& like) {
    std::vector<double> inverse;
    for (const double sigma : at.sigma) inverse.push_back(1 / std::max(sigma, byte_noise));
    scale = per_sample(inverse, like);
    const at::Tensor root = variance.sqrt().to(like.options());
    const Dct dct(like.size(-2), like.size(-1), like.options());
    b = {[=](const at::Tensor& z) { return dct.inverse(root * z); },
         [=](const at::Tensor& x) { return root * dct.forward(x); }};
    const LinearMap c = {[&process, &at](const at::Tensor& x) { return process.corrupt(at, x.contiguous()); },
                         [&process, &at](const at::Tensor& x) { return process.adjoint(at, x.contiguous()); }};
    const at::Tensor of_sample = scale;
    const auto scaled = [of_sample](const at::Tensor& x) { return of_sample * x; };
    a = product({scaled, scaled}, product(c, b));
  }
  at::Tensor scale;
  LinearMap a, b;
};

}  // namespace

at::Tensor LinearFilter::estimate_of(const Process& process, const Points& at, const at::Tensor& y) const {
  const ScaledProblem problem(process, at, variance_, y);
  return problem.b.apply(least_squares(problem.a, {1}, problem.scale * y, filter_limits));
}

// C S = sigma A B^T, so that the transpose of S C^T (C S C^T + sigma^2 I)^-1 is A (I + A^T A)^-1 B^T / sigma.
at::Tensor LinearFilter::transpose_of(const Process& process, const Points& at, const at::Tensor& u) const {
  const ScaledProblem problem(process, at, variance_, u);
  Penalty penalty{1};
  penalty.towards = problem.b.adjoint(u);
  return problem.scale * problem.a.apply(least_squares(problem.a, penalty, at::zeros_like(u), filter_limits));
}

}  // namespace sdpipe
