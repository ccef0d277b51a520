// One element of the fused update of optimizer.hpp, which the CPU and the CUDA kernel share: C++17, so that both
// compilers read it.
#pragma once

#include <cmath>

#include "core/abi/host_device.h"

namespace sdpipe {

// The constants of one step in the tensors' own type; b1 and b2 in the corrections are as T rounds them.
template <class T>
struct AdamConstants {
  T scale;    // of the gradient: min(1, clip / |g|)
  T b1, b2;   // decays of the moments
  T step;     // learning rate / (1 - b1^n)
  T root;     // 1 / sqrt(1 - b2^n)
  T epsilon;  // 1e-8
  T decay;    // of the average
};

template <class T>
SDP_HOST_DEVICE inline void adam(const AdamConstants<T>& c, T g, T& p, T& m, T& v, T& ema) {
  const T gradient = c.scale * g;
  m = c.b1 * m + (1 - c.b1) * gradient;
  v = c.b2 * v + (1 - c.b2) * gradient * gradient;
  p -= c.step * m / (std::sqrt(v) * c.root + c.epsilon);
  ema = c.decay * ema + (1 - c.decay) * p;
}

}  // namespace sdpipe
