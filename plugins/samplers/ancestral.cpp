// ancestral: a draw from the exact posterior q(x_s | x_t, x_0 = x0_hat),
//   x_s = C_s x0_hat + (sigma_s^2 / sigma_t^2)(x_t - C_t x0_hat) + (sigma_s / sigma_t) sqrt(sigma_t^2 - sigma_s^2) eta.
// The mean is momentum's. The noise is that of Ho, Jain, Abbeel (arXiv 2006.11239), equation 7, for this process:
// momentum's is too large by sigma_t / sigma_s, which vanishes only as the steps grow small.
//
//   [sampler]
//   type = "ancestral"

#include "plugins/samplers/step.hpp"

namespace {

struct Ancestral {
  void step(sdp::Call& call, const sdp::Path& path, uint32_t k, sdp_tensor* x) const {
    const sdpipe::Step n(path, k);
    const sdp_tensor* x0_hat = sdpipe::denoise(call, path, n.t, x);
    sdpipe::advance(call, path, n, x0_hat, n.ratio() * n.ratio(), x);
    sdpipe::add_noise(call, n.ratio() * n.removed(), x);
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::sampler<Ancestral>("ancestral", "1.0.0", "Draws from the exact posterior"))
