// momentum: the naive step with the part of x_t that the estimate does not explain kept, scaled by the noise,
//   x_s = C_s x0_hat + (sigma_s^2 / sigma_t^2)(x_t - C_t x0_hat) + sqrt(sigma_t^2 - sigma_s^2) eta.
// Soft Diffusion (arXiv 2209.05442), Algorithm 2. With C = I, the reverse-diffusion predictor of the
// variance-exploding process; with sigma constant, Cold Diffusion (arXiv 2208.09392), Algorithm 2, and no noise.
//
//   [sampler]
//   type = "momentum"

#include "plugins/samplers/step.hpp"

namespace {

struct Momentum {
  void step(sdp::Call& call, const sdp::Path& path, uint32_t k, sdp_tensor* x) const {
    const sdpipe::Step n(path, k);
    const sdp_tensor* x0_hat = sdpipe::denoise(call, path, n.t, x);
    sdpipe::advance(call, path, n, x0_hat, n.ratio() * n.ratio(), x);
    sdpipe::add_noise(call, n.removed(), x);
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::sampler<Momentum>("momentum", "1.0.0", "The momentum sampler of Soft Diffusion").devices(SDP_ON_CUDA))
