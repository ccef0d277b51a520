// scale: C(level) = (1 - level) I, the image fading into the noise. With sigma = t at level t it is flow matching
// (arXiv 2210.02747, rectified flow 2209.03003), with sigma^2 = 1 - (1 - level)^2 variance-preserving diffusion (arXiv
// 2006.11239): the schedules "flow" and "vp". Invertible for level < 1, zero at 1.
//
//   [corruption]
//   type = "scale"
//
//   [schedule]
//   type = "flow"

#include <algorithm>

#include "core/abi/plugin.hpp"

namespace {

struct Scale {
  double level_max() const { return 1.0; }

  template <class T>
  void apply(sdp::Call&, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    for (int64_t b = 0; b < x.size(); ++b) {
      const T factor = static_cast<T>(std::max(1 - at.level[b], 0.0));
      std::transform(x[b], x[b] + x.stride(), y[b], [factor](T v) { return factor * v; });
    }
  }

  template <class T>
  void adjoint(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    apply(call, at, x, y);  // a multiple of I
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::corruption<Scale>("scale", "1.0.0", "The image fades into the noise: (1 - level) I"))
