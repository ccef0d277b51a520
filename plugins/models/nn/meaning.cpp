#include "plugins/models/nn/meaning.hpp"

#include <ATen/TensorOperators.h>
namespace sdpipe::nn {

namespace {

// Half the host's range, where the network's images lie in [0, 1].
double scale_of(const Meaning& m) { return m.range == Range::unit ? 0.5 : 1; }

// At sigma = 1 nothing is left of the image, and an error of the network would be divided by 0. Published paths end at
// a = 0.0066 and never ask for less.
constexpr double smallest_share = 5e-3;

// (x + correction) / a - x
at::Tensor corrected(const Meaning& m, const sdp::Pass& pass, const Seen& seen, const at::Tensor& correction) {
  if (m.process == Process::ve) return correction;
  if (seen.sigma.gt(1).any().item<bool>())
    pass.call.fail(
        "with process \"vp\" sigma is at most 1, but that of this path is more; take the schedule \"vp\", or "
        "process = \"ve\"",
        "process");
  const at::Tensor a = (1 - seen.sigma * seen.sigma).sqrt().clamp_min(smallest_share);
  return (seen.x + correction) / a.to(seen.x.scalar_type()).view({-1, 1, 1, 1}) - seen.x;
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
  if (m.condition == Condition::sigma) return sigma;
  return (m.condition == Condition::t ? pass.t : pass.level) * m.condition_scale;
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

}  // namespace sdpipe::nn
