// naive: corrupt the estimate again, less, and add new noise,
//   x_s = C_s x0_hat + sigma_s eta.
// Soft Diffusion (arXiv 2209.05442), Algorithm 1; without noise, Cold Diffusion (arXiv 2208.09392), Algorithm 1.
// It gets worse with more steps: momentum cures that.
//
//   [sampler]
//   type = "naive"

#include "plugins/samplers/step.hpp"

namespace {

struct Naive {
  void step(sdp::Call& call, const sdp::Path& path, uint32_t k, sdp_tensor* x) const {
    const sdpipe::Step n(path, k);
    const sdp_tensor* x0_hat = sdpipe::denoise(call, path, n.t, x);
    path.corrupt(n.s, x0_hat, x);
    sdpipe::add_noise(call, n.sigma_s, x);
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::sampler<Naive>("naive", "1.0.0", "Corrupts the estimate again, a little less").devices(SDP_ON_CUDA))
