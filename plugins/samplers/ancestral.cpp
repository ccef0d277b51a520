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
    sdp_tensor* x0_hat = call.scratch(x);
    sdp_tensor* c_s_x0 = call.scratch(x);
    sdp_tensor* c_t_x0 = call.scratch(x);
    path.denoise(n.t, x, x0_hat);
    path.corrupt(n.s, x0_hat, c_s_x0);
    path.corrupt(n.t, x0_hat, c_t_x0);
    const double rho = n.ratio() * n.ratio();
    call.lincomb(x, {1, rho, -rho}, {c_s_x0, x, c_t_x0});
    sdpipe::add_noise(call, n.ratio() * n.removed(), x);
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::sampler<Ancestral>("ancestral", "1.0.0", "Draws from the exact posterior"))
