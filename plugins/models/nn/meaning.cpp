#include "plugins/models/nn/meaning.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/sin.h>

#include <cmath>

namespace sdpipe::nn {

namespace {

// Half the host's range, where the network's images lie in [0, 1].
double scale_of(const Meaning& m) { return m.range == Range::unit ? 0.5 : 1; }

// (x + correction) / a - x
at::Tensor corrected(const Meaning& m, const sdp::Pass& pass, const Seen& seen, const at::Tensor& correction) {
  if (m.process == Process::ve) return correction;
  if (seen.sigma.ge(1).any().item<bool>())
    pass.call.fail("with process \"vp\" sigma must stay below 1, where nothing is left of the image", "process");
  const at::Tensor a = (1 - seen.sigma * seen.sigma).sqrt().to(seen.x.scalar_type()).view({-1, 1, 1, 1});
  return (seen.x + correction) / a - seen.x;
}

}  // namespace

void Meaning::check_meaning(const sdp::Call& call) const {
  const bool scaled = process == Process::vp && (output == Output::score || output == Output::epsilon);
  if (scaled && range == Range::unit)
    call.fail("is for process \"ve\": with \"vp\" images shrink towards 0, which lies at the range's edge", "range");
}

Seen seen_by_network(const Meaning& m, const sdp::Pass& pass, const at::Tensor& x) {
  return {m.range == Range::unit ? (x + 1) * 0.5 : x, pass.sigma * scale_of(m)};
}

at::Tensor condition_of(const Meaning& m, const sdp::Pass& pass, const at::Tensor& sigma) {
  const at::Tensor& told = m.condition == Condition::t ? pass.t : m.condition == Condition::level ? pass.level : sigma;
  return told * m.condition_scale;
}

at::Tensor residual_of(const Meaning& m, const sdp::Pass& pass, const Seen& seen, const at::Tensor& y) {
  const at::Tensor sigma = seen.sigma.to(y.scalar_type()).view({-1, 1, 1, 1});
  const double back = 1 / scale_of(m);
  switch (m.output) {
    case Output::score:
      return corrected(m, pass, seen, sigma * sigma * y) * back;
    case Output::epsilon:
      return corrected(m, pass, seen, -(sigma * y)) * back;
    case Output::clean:
      return (y - seen.x) * back;
    case Output::residual:
      break;
  }
  return m.range == Range::unit ? y * back : y;
}

at::Tensor sinusoids(const at::Tensor& condition, int64_t width) {
  const int64_t half = width / 2;
  const at::Tensor order = at::arange(half, condition.options());
  const at::Tensor phase = condition.unsqueeze(1) * (order * (-std::log(1e4) / static_cast<double>(half - 1))).exp();
  return at::cat({phase.sin(), phase.cos()}, 1);
}

}  // namespace sdpipe::nn
