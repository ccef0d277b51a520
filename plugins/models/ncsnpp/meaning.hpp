// Between the host's conventions and a network's: what it is told of the path, the range of its images, and what its
// output y means. In the network's range, with a = 1 (process "ve") or a = sqrt(1 - sigma^2) (process "vp"):
//
//   residual   x0_hat = x + y
//   score      x0_hat = (x + sigma^2 y) / a      Tweedie's formula
//   epsilon    x0_hat = (x - sigma y) / a
//   clean      x0_hat = y
#pragma once

#include "plugins/models/ncsnpp/settings.hpp"

namespace sdpipe::ncsnpp {

// x and sigma where the network's images lie in [0, 1] (range "unit") and the host's in [-1, 1]; else unchanged.
struct Seen {
  at::Tensor x;      // (batch, channel, height, width)
  at::Tensor sigma;  // (batch), float64
};
Seen seen_by_network(const Settings& s, const sdp::Pass& pass, const at::Tensor& x);

// What the embedding is made of, (batch), float64: condition_scale times t, sigma or level. A positional embedding is
// told of sigma by the index of the nearest of the network's own sigmas.
at::Tensor condition_of(const Settings& s, const sdp::Pass& pass, const at::Tensor& sigma);
// The standard deviation that a condition stands for: itself with a Fourier embedding, else the one at this index.
at::Tensor sigma_of(const Settings& s, const at::Tensor& condition);

// x0_hat - x in the host's range.
at::Tensor residual_of(const Settings& s, const sdp::Pass& pass, const Seen& seen, const at::Tensor& y);

}  // namespace sdpipe::ncsnpp
