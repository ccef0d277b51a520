// heun: a ddim step, a second evaluation where it ends, and the step again with the mean of both estimates,
//   x_s = (sigma_s / sigma_t) x_t + (C_s - (sigma_s / sigma_t) C_t)(x0_hat(x_t, t) + x0_hat(ddim's x_s, s)) / 2.
// Ours, second order for two evaluations a step: the trapezoidal rule for the only part of ddim that is not exact.
// Karras et al. (arXiv 2206.00364), Algorithm 1, average dx/d sigma instead; with C = I both agree to second order.
//
//   [sampler]
//   type = "heun"

#include "plugins/samplers/step.hpp"

namespace {

struct Heun {
  void step(sdp::Call& call, const sdp::Path& path, uint32_t k, sdp_tensor* x) const {
    const sdpipe::Step n(path, k);
    sdp_tensor* x0_hat = sdpipe::denoise(call, path, n.t, x);
    // A step that takes away all noise ends at C_s x0_hat, which the estimate there can only repeat.
    if (n.ratio() > 0) {
      sdp_tensor* x_s = call.scratch(x);
      call.lincomb(x_s, {1}, {x});
      sdpipe::advance(call, path, n, x0_hat, n.ratio(), x_s);
      call.lincomb(x0_hat, {0.5, 0.5}, {x0_hat, sdpipe::denoise(call, path, n.s, x_s)});
    }
    sdpipe::advance(call, path, n, x0_hat, n.ratio(), x);
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::sampler<Heun>("heun", "1.0.0", "Second-order step of two evaluations").devices(SDP_ON_CUDA))
