// ancestral_multistep: ancestral's step with x0_hat extrapolated from the step before, as multistep's is,
//   x_s = C_s x0 + (sigma_s^2 / sigma_t^2)(x_t - C_t x0) + (sigma_s / sigma_t) sqrt(sigma_t^2 - sigma_s^2) eta,
//   x0 = (1 + r) x0_hat - r x0_hat_prev,  r = min(h / (2 h_prev), 1), and 0 at the first step.
// Ours: the mean of the posterior of Ho, Jain, Abbeel (arXiv 2006.11239), equation 7, for this process, with the
// second-order estimate of DPM-Solver++(2M) (arXiv 2211.01095). Where sigma is constant it is multistep.
//
//   [sampler]
//   type = "ancestral_multistep"
//   variable = "t"      # or "log_sigma": in which steps are measured

#include "plugins/samplers/extrapolation.hpp"

namespace {

struct AncestralMultistep {
  sdpipe::Variable variable = sdpipe::Variable::t;

  using Memory = sdpipe::Extrapolation;

  void step(sdp::Call& call, const sdp::Path& path, uint32_t k, Memory& extrapolate, sdp_tensor* x) const {
    const sdpipe::Step n(path, k);
    const sdp_tensor* x0_hat = sdpipe::denoise(call, path, n.t, x);
    sdpipe::advance(call, path, n, extrapolate(call, variable, n, x0_hat), n.ratio() * n.ratio(), x);
    sdpipe::add_noise(call, n.ratio() * n.removed(), x);
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::sampler<AncestralMultistep>("ancestral_multistep", "1.0.0",
                                                          "Draws from the posterior, with a second-order estimate")
                             .choice("variable", &AncestralMultistep::variable, {"t", "log_sigma"},
                                     "In which variable steps are measured when extrapolating")
                             .devices(SDP_ON_CUDA))
