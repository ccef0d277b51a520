// What the samplers' steps are made of: times and noise levels, and the shared moves along the path.
#pragma once

#include <algorithm>
#include <cmath>

#include "core/abi/plugin.hpp"

namespace sdpipe {

// From t to s, as a rule downwards from t = time[k] to s = time[k-1].
struct Step {
  Step(const sdp::Path& path, uint32_t k) : Step(path, path.time(k), path.time(k - 1)) {}
  Step(const sdp::Path& path, double from, double to)
      : t(from), s(to), sigma_t(path.sigma(from)), sigma_s(path.sigma(to)) {}

  // sigma_s / sigma_t: 1 where both are equal, 0 included, so that a path without noise keeps its momentum.
  double ratio() const { return sigma_s == sigma_t ? 1.0 : sigma_s / sigma_t; }
  // sqrt(sigma_t^2 - sigma_s^2), in the form that does not cancel.
  double removed() const { return std::sqrt(std::max(0.0, (sigma_t - sigma_s) * (sigma_t + sigma_s))); }

  double t, s, sigma_t, sigma_s;
};

// x0_hat = E[x_0 | x_t = x]
inline sdp_tensor* denoise(const sdp::Call& call, const sdp::Path& path, double t, const sdp_tensor* x) {
  sdp_tensor* x0_hat = call.scratch(x);
  path.denoise(t, x, x0_hat);
  return x0_hat;
}

// x_s = C_s x0 + share (x_t - C_t x0): the estimate corrupted for s, and a share of what it leaves unexplained of x_t.
// Nothing divides by C, which may be singular.
inline void advance(const sdp::Call& call, const sdp::Path& path, const Step& n, const sdp_tensor* x0, double share,
                    sdp_tensor* x) {
  sdp_tensor* c_s_x0 = call.scratch(x);
  sdp_tensor* c_t_x0 = call.scratch(x);
  path.corrupt(n.s, x0, c_s_x0);
  path.corrupt(n.t, x0, c_t_x0);
  call.lincomb(x, {1, share, -share}, {c_s_x0, x, c_t_x0});
}

// x += std * eta, eta ~ N(0, I); each `draw` of a step is independent of the others.
inline void add_noise(const sdp::Call& call, double std, sdp_tensor* x, uint32_t draw = 0) {
  if (std != 0) call.lincomb_with_noise(x, {1}, {x}, std, draw);
}

}  // namespace sdpipe
