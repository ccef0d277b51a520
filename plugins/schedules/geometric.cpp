// geometric: sigma(t) = sigma_min (sigma_max / sigma_min)^min(t / saturation, 1).
// With C = I and saturation = 1, the variance-exploding schedule of Song et al. (arXiv 2011.13456). Soft Diffusion
// (arXiv 2209.05442) goes from 0.01 to 0.10 and then stays there; its figure has the bend at about t = 0.25.
//
//   [noise]
//   type = "geometric"
//   sigma_min = 0.01
//   sigma_max = 0.10
//   saturation = 0.25   # from this t on, sigma = sigma_max

#include <cmath>

#include "core/abi/plugin.hpp"

namespace {

struct Geometric {
  double sigma_min = 0.01;
  double sigma_max = 0.10;
  double saturation = 0.25;

  void prepare(sdp::Call& call) const {
    if (sigma_max < sigma_min) call.fail("sigma_max is below sigma_min", "sigma_max");
  }

  void select(sdp::Call&, const sdp::Calibration&, uint32_t n, double*, double* sigma) const {
    for (uint32_t i = 0; i < n; ++i) {
      const double t = static_cast<double>(i) / (n - 1);
      // Exactly constant after saturation: there, momentum must equal ddim and add no noise.
      sigma[i] = t < saturation ? sigma_min * std::pow(sigma_max / sigma_min, t / saturation) : sigma_max;
    }
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::schedule<Geometric>("geometric", "1.0.0", "Noise growing by equal factors, then constant")
               .real("sigma_min", &Geometric::sigma_min, sdp::above(0), "", "Standard deviation of the noise at t = 0")
               .real("sigma_max", &Geometric::sigma_max, sdp::above(0), "", "Standard deviation of the noise at t = 1")
               .real("saturation", &Geometric::saturation, sdp::above_to(0, 1), "",
                     "The t at which sigma_max is reached")
               .caps(SDP_CAP_FILLS_SIGMA))
