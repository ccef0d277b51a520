// constant: sigma(t) = sigma. With it, momentum is Cold Diffusion's Algorithm 2 (arXiv 2208.09392), and sigma = 0 is
// diffusion without noise.
//
//   [noise]
//   type = "constant"
//   sigma = 0.01

#include <algorithm>

#include "core/abi/plugin.hpp"

namespace {

struct Constant {
  double sigma = 0.01;

  void select(sdp::Call&, const sdp::Calibration&, uint32_t n, double*, double* out) const {
    std::fill(out, out + n, sigma);
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::schedule<Constant>("constant", "1.0.0", "The same noise at every t")
                             .real("sigma", &Constant::sigma, sdp::at_least(0), "", "Standard deviation of the noise")
                             .caps(SDP_CAP_FILLS_SIGMA))
