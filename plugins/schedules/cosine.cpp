// cosine: level(t) = L (1 - cos(pi t / 2)), L the corruption's largest level.
// With the corruption "scale", what is left of the image is cos(pi t / 2): the cosine schedule of Nichol and Dhariwal
// (arXiv 2102.09672), without its offset.
//
//   [schedule]
//   type = "cosine"

#include <cmath>

#include "core/abi/plugin.hpp"

namespace {

struct Cosine {
  void select(sdp::Call&, const sdp::Calibration& data, uint32_t n, double* level, double*) const {
    // 1 - cos(2 a) = 2 sin(a)^2, without its cancellation at small t.
    for (uint32_t i = 0; i < n; ++i) {
      const double s = std::sin(std::acos(-1.0) / 4 * static_cast<double>(i) / (n - 1));
      level[i] = data.level_max() * 2 * s * s;
    }
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::schedule<Cosine>("cosine", "1.0.0", "Levels that begin slowly, as 1 - cos(pi t / 2)")
                             .caps(SDP_CAP_FILLS_LEVEL))
