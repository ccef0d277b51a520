#include "core/diffusion/restoration.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/diffusion/dct.hpp"

namespace sdpipe {

Measurement::Measurement(std::shared_ptr<const Corruption> corruption, double level, std::vector<uint64_t> keys,
                         double sigma)
    : corruption_(std::move(corruption)) {
  const double largest = corruption_->level_max();
  if (!(level >= 0 && level <= largest))
    throw RunError(
        fmt::format("an observation's level must be from 0 to {}, the corruption's largest, not {}", largest, level));
  if (!(sigma >= 0)) throw RunError(fmt::format("an observation's noise must not be negative, but it is {}", sigma));
  at_.t.assign(keys.size(), level / largest);
  at_.level.assign(keys.size(), level);
  at_.sigma.assign(keys.size(), sigma);
  at_.key = std::move(keys);
}

LinearMap Measurement::map() const {
  return {[this](const at::Tensor& x) { return apply(x); }, [this](const at::Tensor& x) { return adjoint(x); }};
}

at::Tensor Measurement::observe(const at::Tensor& x_0, uint64_t seed, std::span<const uint64_t> sample) const {
  return apply(x_0).add_(normal_like(x_0, seed, Purpose::restoration, sample, 0, 0), sigma());
}

at::Tensor pseudo_inverse(const Measurement& a, const at::Tensor& y, const ConjugateLimits& limits) {
  return least_squares(a.map(), {a.sigma() * a.sigma()}, y, limits);
}

namespace {

// The smallest t at which the table, linear between its values, reaches `value`; 1 where it never does.
double first_time(const std::vector<double>& values, double value) {
  const auto at = std::lower_bound(values.begin(), values.end(), value);
  const double n = static_cast<double>(values.size() - 1);
  if (at == values.begin()) return 0;
  if (at == values.end()) return 1;
  const double before = *(at - 1);
  return (static_cast<double>(at - values.begin() - 1) + (value - before) / (*at - before)) / n;
}

// The largest t at which it is not above `value`.
double last_time(const std::vector<double>& values, double value) {
  const auto above = std::upper_bound(values.begin(), values.end(), value);
  if (above == values.end()) return 1;
  const double n = static_cast<double>(values.size() - 1), before = *(above - 1);
  return (static_cast<double>(above - values.begin() - 1) + (value - before) / (*above - before)) / n;
}

}  // namespace

PathEntry path_entry(const Path& path, double level, double sigma) {
  if (level > path.levels().back() * (1 + 1e-12)) {
    throw RunError(fmt::format("level {} is beyond the largest on this path, {}", level, path.levels().back()));
  }
  const double first = first_time(path.levels(), level), last = last_time(path.levels(), level);
  PathEntry entry;
  entry.t = std::clamp(first_time(path.sigmas(), sigma), first, std::max(first, last));
  const double there = path.sigma(entry.t);
  entry.too_noisy = sigma > there * (1 + 1e-9);
  entry.missing = std::sqrt(std::max(there * there - sigma * sigma, 0.0));
  return entry;
}

Trajectory restore_by_reversing(const Denoiser& denoiser, const Sampler& sampler, const Measurement& a,
                                const at::Tensor& y, int64_t steps, std::span<const uint64_t> sample,
                                TrajectoryOptions options) {
  const PathEntry entry = path_entry(denoiser.process().path(), a.level(), a.sigma());
  options.nodes = {entry.t};  // at t = 0 there is no way to go, and one denoise
  if (entry.t > 0) {
    options.nodes.clear();
    for (int64_t k = 1; k <= steps; ++k)
      options.nodes.push_back(entry.t * static_cast<double>(k) / static_cast<double>(steps));
  }
  const at::Tensor x_t = y + normal_like(y, options.seed, Purpose::restoration, sample, 0, 1) * entry.missing;
  return run_trajectory(denoiser, sampler, x_t, a.keys(), sample, options);
}

namespace {

// C_t; borrows both.
LinearMap map_of(const Process& process, const Points& at) {
  return {[&](const at::Tensor& d) { return process.corrupt(at, d); },
          [&](const at::Tensor& d) { return process.adjoint(at, d); }};
}

// sigma_y^2 (|d|^2 + |C_t d|^2 / sigma_t^2). Neither y nor x_t is surer than bytes: with sigma_y = 0 nothing would hold
// d to x_t where A sees nothing.
Penalty penalty_of(const Measurement& a, const Process& process, const Points& at) {
  const double sigma_y = std::max(a.sigma(), byte_noise), sigma_t = std::max(at.sigma.front(), byte_noise);
  return {sigma_y * sigma_y, sigma_y * sigma_y / (sigma_t * sigma_t), map_of(process, at)};
}

}  // namespace

LinearMap root_of(const ImageLaw& law, const at::Tensor& like) {
  const at::TensorOptions exact(at::kDouble);
  const auto squares = [&](int64_t n) { return at::arange(n, exact).square(); };
  const at::Tensor power = (squares(like.size(-2)).view({-1, 1}) + squares(like.size(-1)) + 1).pow(-law.exponent);
  return dct_root(power * (law.variance / power.mean()), like);
}

LinearMap dct_root(const at::Tensor& variance, const at::Tensor& like) {
  const at::Tensor root = variance.sqrt().to(like.options());
  const Dct dct(like.size(-2), like.size(-1), like.options());
  return {[root, dct](const at::Tensor& z) { return dct.inverse(root * z); },
          [root, dct](const at::Tensor& x) { return root * dct.forward(x); }};
}

// With d = B z and Q times sigma_y^2, the penalty is sigma_y^2 (|z|^2 + |C_t B z|^2 / sigma_t^2).
at::Tensor posterior_start(const Denoiser& denoiser, const Measurement& a, const at::Tensor& y, const at::Tensor& x_1,
                           const std::vector<uint64_t>& keys, const ImageLaw& law) {
  const Points at = denoiser.process().at(1, keys);
  const LinearMap root = root_of(law, y);
  const at::Tensor misfit = y - a.apply(denoiser.x0_hat(at, x_1));
  const at::Tensor z = least_squares(product(a.map(), root), {a.sigma() * a.sigma()}, misfit);
  return x_1 + denoiser.process().corrupt(at, root.apply(z));
}

at::Tensor ProjectedDenoiser::x0_hat(const Points& at, const at::Tensor& x_t) const {
  const at::Tensor estimate = Denoiser::x0_hat(at, x_t);
  Penalty penalty = penalty_of(a_, process_, at);
  penalty.c = product(penalty.c, root_);
  const at::Tensor z = least_squares(product(a_.map(), root_), penalty, y_ - a_.apply(estimate), limits_);
  return estimate + root_.apply(z);
}

GuidedDenoiser::Estimate GuidedDenoiser::estimate(const Points& at, const at::Tensor& x_t) const {
  CallScope scope;
  scope.corruption = &process_.corruption();
  const ModelCall call{params_, at, scope};
  const Preconditioning around = parametrisation_.at(process_, at, x_t);
  const at::Tensor input = around.input(x_t);
  auto [f, saved] = model_.forward_saving(call, input);
  Estimate e;
  e.x0_hat = around.x0_hat(x_t, f);
  e.misfit = y_ - a_.apply(e.x0_hat);
  const at::Tensor u = a_.adjoint(e.misfit);
  e.v = around.to_x_t(u, model_.vjp(call, input, saved, around.to_output(u), nullptr, /*want_gx=*/true));
  return e;
}

at::Tensor GuidedDenoiser::x0_hat(const Points& at, const at::Tensor& x_t) const {
  const Estimate e = estimate(at, x_t);
  const Penalty penalty = penalty_of(a_, process_, at);
  const at::Tensor a_v = a_.apply(e.v);
  at::Tensor curvature = dot_of_samples(a_v, a_v) + dot_of_samples(e.v, e.v) * penalty.identity;
  if (penalty.corrupted > 0) {
    const at::Tensor c_v = penalty.c.apply(e.v);
    curvature = curvature + dot_of_samples(c_v, c_v) * penalty.corrupted;
  }
  // Never backwards, should the network's Jacobian point there.
  const at::Tensor alpha = ratio_or_zero(dot_of_samples(e.misfit, a_v), curvature).clamp_min(0) * strength_;
  return e.x0_hat + alpha.to(x_t.scalar_type()) * e.v;
}

}  // namespace sdpipe
