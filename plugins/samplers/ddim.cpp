// ddim: the deterministic step, exact where x0_hat is constant along the path, and valid for singular C_t,
//   x_s = C_s x0_hat + (sigma_s / sigma_t)(x_t - C_t x0_hat).
// Song, Meng, Ermon (arXiv 2010.02502), equation 12 with eta = 0, for this process.
//
//   [sampler]
//   type = "ddim"

#include "plugins/samplers/step.hpp"

namespace {

struct Ddim {
  void step(sdp::Call& call, const sdp::Path& path, uint32_t k, sdp_tensor* x) const {
    const sdpipe::Step n(path, k);
    sdp_tensor* x0_hat = call.scratch(x);
    sdp_tensor* c_s_x0 = call.scratch(x);
    sdp_tensor* c_t_x0 = call.scratch(x);
    path.denoise(n.t, x, x0_hat);
    path.corrupt(n.s, x0_hat, c_s_x0);
    path.corrupt(n.t, x0_hat, c_t_x0);
    const double ratio = n.ratio();
    call.lincomb(x, {1, ratio, -ratio}, {c_s_x0, x, c_t_x0});
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::sampler<Ddim>("ddim", "1.0.0", "Deterministic first-order step"))
