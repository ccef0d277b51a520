#include "plugins/models/nn/embedding.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/erfinv.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/sin.h>

#include <cmath>

namespace sdpipe::nn {

namespace {

// The condition times 1e-4^(i / steps), i = 0 ... n - 1.
at::Tensor phases(const at::Tensor& condition, int64_t n, int64_t steps) {
  const at::Tensor order = at::arange(n, condition.options());
  return condition.unsqueeze(1) * (order * (-std::log(1e4) / static_cast<double>(steps))).exp();
}

}  // namespace

at::Tensor sinusoids(const at::Tensor& condition, int64_t width) {
  const at::Tensor phase = phases(condition, width / 2, width / 2 - 1);
  return at::constant_pad_nd(at::cat({phase.sin(), phase.cos()}, 1), {0, width % 2});
}

at::Tensor cosines_and_sines(const at::Tensor& condition, int64_t width) {
  const at::Tensor phase = phases(condition, width / 2, width / 2);
  return at::cat({phase.cos(), phase.sin()}, 1);
}

at::Tensor fourier_features(const at::Tensor& condition, const at::Tensor& frequencies) {
  const double turn = 2 * std::acos(-1.0);
  const at::Tensor phase = condition.log().unsqueeze(1) * frequencies.to(condition.scalar_type()) * turn;
  return at::cat({phase.sin(), phase.cos()}, 1);
}

at::Tensor away_from_zero(const at::Tensor& condition) { return condition.clamp_min(1e-5); }

at::Tensor normal_quantiles(int64_t n, double scale) {
  const at::Tensor share = (at::arange(n, at::kDouble) + 0.5) / static_cast<double>(n);
  return (at::erfinv(share * 2 - 1) * (std::sqrt(2.0) * scale)).to(at::kFloat);
}

}  // namespace sdpipe::nn
