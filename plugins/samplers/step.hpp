// What every sampler's step needs: from t = time[k] down to s = time[k-1], with their noise levels.
#pragma once

#include <algorithm>
#include <cmath>

#include "core/abi/plugin.hpp"

namespace sdpipe {

struct Step {
  Step(const sdp::Path& path, uint32_t k)
      : t(path.time(k)), s(path.time(k - 1)), sigma_t(path.sigma(t)), sigma_s(path.sigma(s)) {}

  // sigma_s / sigma_t: 1 where both are equal, 0 included, so that a path without noise keeps its momentum.
  double ratio() const { return sigma_s == sigma_t ? 1.0 : sigma_s / sigma_t; }
  // sqrt(sigma_t^2 - sigma_s^2), in the form that does not cancel.
  double removed() const { return std::sqrt(std::max(0.0, (sigma_t - sigma_s) * (sigma_t + sigma_s))); }

  double t, s, sigma_t, sigma_s;
};

// x += std * eta, eta ~ N(0, I)
inline void add_noise(const sdp::Call& call, double std, sdp_tensor* x) {
  if (std == 0) return;
  sdp_tensor* eta = call.scratch(x);
  call.normal(0, eta);
  call.lincomb(x, {1, std}, {x, eta});
}

}  // namespace sdpipe
