// multistep (2M): ddim with x0_hat extrapolated from the step before, second order for one evaluation a step,
//   x_s = (sigma_s / sigma_t) x_t + (C_s - (sigma_s / sigma_t) C_t)((1 + r) x0_hat - r x0_hat_prev),
//   r = min(h / (2 h_prev), 1), and 0 at the first step.
// h is the step in `variable`: t itself, or log sigma. With C = I and log_sigma this is DPM-Solver++(2M) of Lu et
// al. (arXiv 2211.01095), Algorithm 2. log sigma is the wrong variable where sigma saturates: t is the default.
//
//   [sampler]
//   type = "multistep"
//   variable = "t"      # or "log_sigma"

#include "plugins/samplers/step.hpp"

namespace {

enum class Variable { t, log_sigma };

struct StepLength {
  double t = 0, log_sigma = 0;
};

struct Multistep {
  Variable variable = Variable::t;

  struct Memory {
    StepLength h_prev;  // 0 before the first step
  };

  void step(sdp::Call& call, const sdp::Path& path, uint32_t k, Memory& memory, sdp_tensor* x) const {
    const sdpipe::Step n(path, k);
    const StepLength h{n.t - n.s, std::log(n.sigma_t / n.sigma_s)};
    sdp_tensor* x0_hat = call.scratch(x);
    sdp_tensor* x0_hat_prev = call.keep(0, x);
    path.denoise(n.t, x, x0_hat);
    advance(call, path, n, extrapolate(call, r(h, memory.h_prev), x0_hat, x0_hat_prev), x);
    call.lincomb(x0_hat_prev, {1}, {x0_hat});
    memory.h_prev = h;
  }

 private:
  double r(const StepLength& h, const StepLength& h_prev) const {
    if (h_prev.t == 0) return 0;
    // A log-sigma step of 0, or one to or from sigma = 0, has no ratio.
    const bool in_log = variable == Variable::log_sigma && usable(h.log_sigma) && usable(h_prev.log_sigma);
    return in_log ? std::min(h.log_sigma / (2 * h_prev.log_sigma), 1.0) : std::min(h.t / (2 * h_prev.t), 1.0);
  }
  static bool usable(double h) { return std::isfinite(h) && h != 0; }

  static sdp_tensor* extrapolate(sdp::Call& call, double r, sdp_tensor* x0_hat, const sdp_tensor* x0_hat_prev) {
    if (r == 0) return x0_hat;
    sdp_tensor* extrapolated = call.scratch(x0_hat);
    call.lincomb(extrapolated, {1 + r, -r}, {x0_hat, x0_hat_prev});
    return extrapolated;
  }

  static void advance(sdp::Call& call, const sdp::Path& path, const sdpipe::Step& n, const sdp_tensor* x0,
                      sdp_tensor* x) {
    sdp_tensor* c_s_x0 = call.scratch(x);
    sdp_tensor* c_t_x0 = call.scratch(x);
    path.corrupt(n.s, x0, c_s_x0);
    path.corrupt(n.t, x0, c_t_x0);
    const double ratio = n.ratio();
    call.lincomb(x, {ratio, 1, -ratio}, {x, c_s_x0, c_t_x0});
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::sampler<Multistep>("multistep", "1.0.0", "Second-order multistep (2M)")
                             .choice("variable", &Multistep::variable, {"t", "log_sigma"},
                                     "In which variable steps are measured when extrapolating"))
