// edm: level(t) = L t, sigma(t) = (sigma_min^(1/rho) + t (sigma_max^(1/rho) - sigma_min^(1/rho)))^rho, L the
// corruption's largest level. The noise levels of Karras et al. (arXiv 2206.00364, equation 5) at equal steps of t.
//
//   [schedule]           # and no [noise]
//   type = "edm"
//   sigma_min = 0.002
//   sigma_max = 80.0
//   rho = 7.0

#include <cmath>

#include "core/abi/plugin.hpp"

namespace {

struct Edm {
  double sigma_min = 0.002;
  double sigma_max = 80;
  double rho = 7;

  void prepare(sdp::Call& call) const {
    if (sigma_max < sigma_min) call.fail("sigma_max is below sigma_min", "sigma_max");
  }

  void select(sdp::Call&, const sdp::Calibration& data, uint32_t n, double* level, double* sigma) const {
    const double first = std::pow(sigma_min, 1 / rho), last = std::pow(sigma_max, 1 / rho);
    for (uint32_t i = 0; i < n; ++i) {
      const double t = static_cast<double>(i) / (n - 1);
      level[i] = data.level_max() * t;
      sigma[i] = std::pow(first + t * (last - first), rho);
    }
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::schedule<Edm>("edm", "1.0.0", "Levels in proportion to t, noise at equal steps of sigma^(1/rho)")
               .real("sigma_min", &Edm::sigma_min, sdp::at_least(0), "", "Standard deviation of the noise at t = 0")
               .real("sigma_max", &Edm::sigma_max, sdp::above(0), "", "Standard deviation of the noise at t = 1")
               .real("rho", &Edm::rho, sdp::above(0), "", "The larger, the more of t is spent at small noise")
               .caps(SDP_CAP_FILLS_LEVEL | SDP_CAP_FILLS_SIGMA))
