// vp: with a = cos(pi t / 2), level(t) = L (1 - a) and sigma(t) = sqrt(1 - a^2) = sin(pi t / 2), L the corruption's
// largest level. With the corruption "scale", x_t = a x_0 + sigma eps keeps the variance of data of variance 1: DDPM
// (arXiv 2006.11239) with the cosine schedule of Nichol and Dhariwal (arXiv 2102.09672) without its offset.
//
//   [schedule]           # and no [noise]
//   type = "vp"

#include <cmath>

#include "core/abi/plugin.hpp"

namespace {

struct Vp {
  void select(sdp::Call&, const sdp::Calibration& data, uint32_t n, double* level, double* sigma) const {
    const double pi = std::acos(-1.0);
    for (uint32_t i = 0; i < n; ++i) {
      const double t = static_cast<double>(i) / (n - 1);
      const double s = std::sin(pi * t / 4);
      level[i] = data.level_max() * 2 * s * s;  // 1 - cos(2 a) = 2 sin(a)^2, without its cancellation at small t
      sigma[i] = std::sin(pi * t / 2);
    }
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::schedule<Vp>("vp", "1.0.0", "Levels and noise of variance-preserving diffusion")
                             .caps(SDP_CAP_FILLS_LEVEL | SDP_CAP_FILLS_SIGMA))
