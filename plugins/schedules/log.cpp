// log: level(t) = level_min (L / level_min)^t, and 0 at t = 0; L is the corruption's largest level.
// Equal steps in log level: with a small level_min, half of t is spent where the corruption is hardly visible.
//
//   [schedule]
//   type = "log"
//   level_min = 0.02    # in the corruption's unit; 0 stands for L / 1000

#include <cmath>

#include "core/abi/plugin.hpp"

namespace {

struct Log {
  double level_min = 0;

  void select(sdp::Call& call, const sdp::Calibration& data, uint32_t n, double* level, double*) const {
    const double largest = data.level_max();
    const double smallest = level_min > 0 ? level_min : largest / 1000;
    if (smallest >= largest) {
      call.fail("level_min = " + std::to_string(smallest) + " is not below the corruption's largest level, " +
                    std::to_string(largest),
                "level_min");
    }
    for (uint32_t i = 1; i < n; ++i)
      level[i] = smallest * std::pow(largest / smallest, static_cast<double>(i) / (n - 1));
    level[0] = 0;
    level[n - 1] = largest;
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::schedule<Log>("log", "1.0.0", "Levels equally spaced in their logarithm")
                             .real("level_min", &Log::level_min, sdp::at_least(0), "",
                                   "First level above 0, in the corruption's unit; 0 stands for its largest / 1000")
                             .caps(SDP_CAP_FILLS_LEVEL))
