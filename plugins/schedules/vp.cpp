// vp: level(t) = L (1 - a) and sigma(t) = sqrt(1 - a^2), L the corruption's largest level. With the corruption "scale",
// x_t = a x_0 + sigma eps keeps the variance of data of variance 1. The share a(t) that is left of the image:
//
//   cosine        a = cos(pi t / 2): Nichol and Dhariwal (arXiv 2102.09672), without their offset
//   linear_beta   a^2 = exp(-beta_min t - (beta_max - beta_min) t^2 / 2): Song et al. (arXiv 2011.13456, appendix C);
//                 with 0.1 and 20 the limit of DDPM's 1000 steps, beta from 1e-4 to 0.02 (arXiv 2006.11239). It ends
//                 with a(1) = 0.0066 of the image left, and so at level L (1 - a(1))
//
//   [schedule]           # and no [noise]
//   type = "vp"
//   path = "linear_beta" # networks of DDPM, DDPM++ and google/ddpm-* were trained on it
//   beta_min = 0.1
//   beta_max = 20.0

#include <cmath>

#include "core/abi/plugin.hpp"

namespace {

enum class VpPath { cosine, linear_beta };

struct Vp {
  VpPath path = VpPath::cosine;
  double beta_min = 0.1;
  double beta_max = 20;

  void prepare(sdp::Call& call) const {
    if (beta_max < beta_min) call.fail("beta_max is below beta_min", "beta_max");
  }

  void select(sdp::Call&, const sdp::Calibration& data, uint32_t n, double* level, double* sigma) const {
    for (uint32_t i = 0; i < n; ++i) {
      const double t = static_cast<double>(i) / (n - 1);
      const Gone gone = path == VpPath::cosine ? cosine(t) : linear_beta(t);
      level[i] = data.level_max() * gone.share;
      sigma[i] = gone.sigma;
    }
  }

 private:
  // 1 - a and sqrt(1 - a^2), without their cancellation at small t.
  struct Gone {
    double share, sigma;
  };
  static Gone cosine(double t) {
    const double pi = std::acos(-1.0), s = std::sin(pi * t / 4);
    return {2 * s * s, std::sin(pi * t / 2)};  // 1 - cos(2 x) = 2 sin(x)^2
  }
  Gone linear_beta(double t) const {
    const double log_square = -beta_min * t - (beta_max - beta_min) * t * t / 2;
    return {-std::expm1(log_square / 2), std::sqrt(-std::expm1(log_square))};
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::schedule<Vp>("vp", "1.0.0", "Levels and noise of variance-preserving diffusion")
               .choice("path", &Vp::path, {"cosine", "linear_beta"}, "what is left of the image at t")
               .real("beta_min", &Vp::beta_min, sdp::above(0), "", "with linear_beta: rate of the noise at t = 0")
               .real("beta_max", &Vp::beta_max, sdp::above(0), "", "with linear_beta: rate of the noise at t = 1")
               .caps(SDP_CAP_FILLS_LEVEL | SDP_CAP_FILLS_SIGMA))
