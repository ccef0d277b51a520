// churn: back up the path by a part of the step, with fresh noise, then ddim down from there,
//   t' = min(t + churn (t - s), 1),
//   x' = C_t' x0_hat + (x_t - C_t x0_hat) + sqrt(sigma_t'^2 - sigma_t^2) eta,
//   x_s = C_s x0_hat' + (sigma_s / sigma_t')(x' - C_t' x0_hat'),  x0_hat' = E[x_0 | x_t' = x'].
// Ours, after Karras et al. (arXiv 2206.00364), Algorithm 2, whose raise this is for C = I. Two evaluations a step, one
// where t' = t: at the first step, which starts at the end of the path, and with churn = 0, where it is ddim.
//
//   [sampler]
//   type = "churn"
//   churn = 0.5         # of the step

#include "plugins/samplers/step.hpp"

namespace {

struct Churn {
  double churn = 0.5;

  void step(sdp::Call& call, const sdp::Path& path, uint32_t k, sdp_tensor* x) const {
    const double t = path.time(k), s = path.time(k - 1);
    const double raised = std::min(t + churn * (t - s), 1.0);
    const sdpipe::Step down(path, raised, s);
    const sdp_tensor* x0_hat = sdpipe::denoise(call, path, t, x);
    if (raised > t) {
      sdpipe::advance(call, path, sdpipe::Step(path, t, raised), x0_hat, 1, x);
      sdpipe::add_noise(call, sdpipe::Step(path, raised, t).removed(), x);
      x0_hat = sdpipe::denoise(call, path, raised, x);
    }
    sdpipe::advance(call, path, down, x0_hat, down.ratio(), x);
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::sampler<Churn>("churn", "1.0.0", "A little back up with fresh noise, then down by ddim")
               .real("churn", &Churn::churn, sdp::at_least(0), "of the step", "How far each step first goes back up")
               .devices(SDP_ON_CUDA))
