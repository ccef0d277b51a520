// The estimate extrapolated from that of the step before (2M),
//   (1 + r) x0_hat - r x0_hat_prev,  r = min(h / (2 h_prev), 1), and 0 at the first step,
// where h is the step in t or in log sigma: a straight line through both estimates, read at the middle of the step.
#pragma once

#include "plugins/samplers/step.hpp"

namespace sdpipe {

enum class Variable { t, log_sigma };

struct StepLength {
  double t = 0, log_sigma = 0;
};

class Extrapolation {
 public:
  // Returns the extrapolated estimate and keeps x0_hat, in slot 0, for the next step.
  const sdp_tensor* operator()(const sdp::Call& call, Variable variable, const Step& n, const sdp_tensor* x0_hat) {
    const StepLength h{n.t - n.s, std::log(n.sigma_t / n.sigma_s)};
    const double r = share(variable, h);
    sdp_tensor* x0_hat_prev = call.keep(0, x0_hat);  // zeros at first
    sdp_tensor* extrapolated = call.scratch(x0_hat);
    call.lincomb(extrapolated, {1 + r, -r}, {x0_hat, x0_hat_prev});
    call.lincomb(x0_hat_prev, {1}, {x0_hat});
    h_prev_ = h;
    return extrapolated;
  }

 private:
  double share(Variable variable, const StepLength& h) const {
    if (h_prev_.t == 0) return 0;
    // A log-sigma step of 0, or one to or from sigma = 0, has no ratio.
    const bool in_log = variable == Variable::log_sigma && usable(h.log_sigma) && usable(h_prev_.log_sigma);
    return in_log ? std::min(h.log_sigma / (2 * h_prev_.log_sigma), 1.0) : std::min(h.t / (2 * h_prev_.t), 1.0);
  }
  static bool usable(double h) { return std::isfinite(h) && h != 0; }

  StepLength h_prev_;  // 0 before the first step
};

}  // namespace sdpipe
