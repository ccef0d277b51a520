// Which fast paths a network's layers take. Every one has a plain twin, LibTorch's own operators, and a switch that
// turns it off; where shape, dtype or device do not suit it, the plain path is taken by itself.
#pragma once

#include "core/abi/plugin.hpp"

namespace sdpipe::nn {

// Base of a network's settings, as Meaning is; `with_fast_paths` lists them in its schema.
struct FastPaths {
  bool fused_norm = true;
  bool winograd = true;
  bool fused_attention = true;
  bool checkpoint = false;
};

template <class Settings>
sdp::Description<Settings> with_fast_paths(sdp::Description<Settings> d) {
  const auto member = [](bool FastPaths::*m) { return static_cast<bool Settings::*>(m); };
  d.flag("fused_norm", member(&FastPaths::fused_norm), "group normalisation and SiLU in one pass")
      .flag("winograd", member(&FastPaths::winograd),
            "3 x 3 convolutions with fewer multiplications, all in float32, where the relative error is 5e-6 instead "
            "of 2e-7")
      .flag("fused_attention", member(&FastPaths::fused_attention),
            "attention without holding all weights at once, where that is faster")
      .flag("checkpoint", member(&FastPaths::checkpoint),
            "hold only the inputs of blocks while training and compute them again for the gradient: less memory, more "
            "time");
  return d;
}

}  // namespace sdpipe::nn
