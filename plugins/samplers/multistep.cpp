// multistep (2M): ddim with x0_hat extrapolated from the step before, second order for one evaluation a step,
//   x_s = (sigma_s / sigma_t) x_t + (C_s - (sigma_s / sigma_t) C_t)((1 + r) x0_hat - r x0_hat_prev),
//   r = min(h / (2 h_prev), 1), and 0 at the first step.
// h is the step in `variable`: t itself, or log sigma. With C = I and log_sigma this is DPM-Solver++(2M) of Lu et
// al. (arXiv 2211.01095), Algorithm 2. log sigma is the wrong variable where sigma saturates: t is the default.
//
//   [sampler]
//   type = "multistep"
//   variable = "t"      # or "log_sigma"

#include "plugins/samplers/extrapolation.hpp"

namespace {

struct Multistep {
  sdpipe::Variable variable = sdpipe::Variable::t;

  using Memory = sdpipe::Extrapolation;

  void step(sdp::Call& call, const sdp::Path& path, uint32_t k, Memory& extrapolate, sdp_tensor* x) const {
    const sdpipe::Step n(path, k);
    const sdp_tensor* x0_hat = sdpipe::denoise(call, path, n.t, x);
    sdpipe::advance(call, path, n, extrapolate(call, variable, n, x0_hat), n.ratio(), x);
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::sampler<Multistep>("multistep", "1.0.0", "Second-order multistep (2M)")
                             .choice("variable", &Multistep::variable, {"t", "log_sigma"},
                                     "In which variable steps are measured when extrapolating")
                             .devices(SDP_ON_CUDA))
