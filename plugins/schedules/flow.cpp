// flow: level(t) = L t, sigma(t) = t, L the corruption's largest level. With the corruption "scale" from the image to
// nothing, x_t = (1 - t) x_0 + t eps: flow matching with the straight path (arXiv 2210.02747), rectified flow
// (arXiv 2209.03003).
//
//   [schedule]           # and no [noise]
//   type = "flow"

#include "core/abi/plugin.hpp"

namespace {

struct Flow {
  void select(sdp::Call&, const sdp::Calibration& data, uint32_t n, double* level, double* sigma) const {
    for (uint32_t i = 0; i < n; ++i) {
      sigma[i] = static_cast<double>(i) / (n - 1);
      level[i] = data.level_max() * sigma[i];
    }
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::schedule<Flow>("flow", "1.0.0", "Levels and noise in proportion to t")
                             .caps(SDP_CAP_FILLS_LEVEL | SDP_CAP_FILLS_SIGMA))
