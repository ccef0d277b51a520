// The sigmas that a network of score_sde was trained on, and how its embedding is told of them.
#pragma once

#include "plugins/models/ncsnpp/settings.hpp"

namespace sdpipe::ncsnpp {

// What the embedding is made of, (batch), float64. A positional embedding is told of sigma by the index of the nearest
// of the network's own sigmas.
at::Tensor embedded_condition(const Settings& s, const sdp::Pass& pass, const at::Tensor& sigma);
// The standard deviation that a condition stands for: itself with a Fourier embedding, else the one at this index.
at::Tensor sigma_of(const Settings& s, const at::Tensor& condition);

}  // namespace sdpipe::ncsnpp
