#include "plugins/models/ncsnpp/meaning.hpp"

#include <ATen/TensorOperators.h>

#include <cmath>

namespace sdpipe::ncsnpp {

namespace {

// Where the path ends at 0, a logarithm must not: below every sigma that images of 8 bits can tell from none.
constexpr double clean_condition = 1e-5;

// Half the host's range, where the network's images lie in [0, 1].
double scale_of(const Settings& s) { return s.range == Range::unit ? 0.5 : 1; }

// sigma_max .. sigma_min in num_scales geometric steps, index 0 the largest: ln sigma(i) = ln sigma_max - i * step.
double log_step(const Settings& s) {
  return std::log(s.sigma_max / s.sigma_min) / static_cast<double>(s.num_scales - 1);
}

at::Tensor within_indices(const Settings& s, const at::Tensor& index) {
  return index.clamp(0, static_cast<double>(s.num_scales - 1));
}

// x and y are estimates of a signal of size a in x: brought to size 1.
at::Tensor rescaled(const Settings& s, const sdp::Pass& pass, const Seen& seen, const at::Tensor& signal_minus_x) {
  if (s.process == Process::ve) return signal_minus_x;
  if (seen.sigma.ge(1).any().item<bool>())
    pass.call.fail("with process \"vp\" sigma must stay below 1, where nothing is left of the image", "process");
  const at::Tensor a = (1 - seen.sigma * seen.sigma).sqrt().to(seen.x.scalar_type()).view({-1, 1, 1, 1});
  return (seen.x + signal_minus_x) / a - seen.x;
}

}  // namespace

Seen seen_by_network(const Settings& s, const sdp::Pass& pass, const at::Tensor& x) {
  return {s.range == Range::unit ? (x + 1) * 0.5 : x, pass.sigma * scale_of(s)};
}

at::Tensor condition_of(const Settings& s, const sdp::Pass& pass, const at::Tensor& sigma) {
  const at::Tensor& told = s.condition == Condition::t ? pass.t : s.condition == Condition::level ? pass.level : sigma;
  const at::Tensor scaled = told * s.condition_scale;
  if (s.embedding_type == Embedding::fourier) return scaled.clamp_min(clean_condition);
  if (s.condition != Condition::sigma) return scaled;
  return within_indices(s, ((scaled.log() - std::log(s.sigma_max)) * (-1 / log_step(s))).round());
}

at::Tensor sigma_of(const Settings& s, const at::Tensor& condition) {
  if (s.embedding_type == Embedding::fourier) return condition;
  return (std::log(s.sigma_max) - within_indices(s, condition.floor()) * log_step(s)).exp();
}

at::Tensor residual_of(const Settings& s, const sdp::Pass& pass, const Seen& seen, const at::Tensor& y) {
  const at::Tensor sigma = seen.sigma.to(y.scalar_type()).view({-1, 1, 1, 1});
  const double back = 1 / scale_of(s);
  switch (s.output) {
    case Output::score:
      return rescaled(s, pass, seen, sigma * sigma * y) * back;
    case Output::epsilon:
      return rescaled(s, pass, seen, -(sigma * y)) * back;
    case Output::clean:
      return (y - seen.x) * back;
    case Output::residual:
      break;
  }
  return s.range == Range::unit ? y * back : y;
}

}  // namespace sdpipe::ncsnpp
