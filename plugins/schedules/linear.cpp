// linear: level(t) = L t^power, L the corruption's largest level.
//
//   [schedule]
//   type = "linear"
//   power = 1.0

#include <cmath>

#include "core/abi/plugin.hpp"

namespace {

struct Linear {
  double power = 1.0;

  void select(sdp::Call&, const sdp::Calibration& data, uint32_t n, double* level, double*) const {
    for (uint32_t i = 0; i < n; ++i) level[i] = data.level_max() * std::pow(static_cast<double>(i) / (n - 1), power);
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::schedule<Linear>("linear", "1.0.0", "Levels in proportion to t, or to a power of it")
                             .real("power", &Linear::power, sdp::above(0), "", "Exponent of t")
                             .caps(SDP_CAP_FILLS_LEVEL))
