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
    const sdp_tensor* x0_hat = sdpipe::denoise(call, path, n.t, x);
    sdpipe::advance(call, path, n, x0_hat, n.ratio(), x);
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::sampler<Ddim>("ddim", "1.0.0", "Deterministic first-order step").devices(SDP_ON_CUDA))
