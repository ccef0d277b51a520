// The matrix A = D^T diag(decay) D of heat_blur along an axis of n pixels, in formulas that the CPU and the CUDA
// kernel share: C++17, so that both compilers read it. A product of cosines is a sum of cosines,
//   A_ab = f(a - b) + f(a + b + 1),  f(r) = 1/n (1/2 + sum_{k >= 1} decay_k cos(pi k r / n)),
// so that a table of 2n numbers, made in float64, is all it takes. Tables: cosine and f of 2n, decay of n.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>

#include "core/abi/host_device.h"

namespace sdpipe::heat {

constexpr double pi = 3.14159265358979323846;

SDP_HOST_DEVICE inline double cosine_at(int64_t i, int64_t n) {
  return std::cos(pi * static_cast<double>(i) / static_cast<double>(n));
}

// The k-th eigenvalue. 0 where T would be denormal: most are under strong blur, and those are slow and mean nothing.
template <class T>
SDP_HOST_DEVICE double eigenvalue(int64_t k, int64_t n, double level) {
  const double rate = level * pi * static_cast<double>(k) / static_cast<double>(n);
  const double value = std::exp(-0.5 * rate * rate);
  return value < (sizeof(T) == sizeof(float) ? double{FLT_MIN} : DBL_MIN) ? 0 : value;
}

// n f(r) of a sum that ends before the `terms`-th.
SDP_HOST_DEVICE inline double mirrored_sum(const double* cosine, const double* decay, int64_t n, int64_t terms,
                                           int64_t r) {
  double sum = 0.5;
  int64_t angle = 0;  // k r, modulo the period
  for (int64_t k = 1; k < terms; ++k) {
    angle += r;
    if (angle >= 2 * n) angle -= 2 * n;
    sum += decay[k] * cosine[angle];
  }
  return sum;
}

template <class T>
SDP_HOST_DEVICE T entry(const double* f, int64_t n, int64_t a, int64_t b) {
  return static_cast<T>((f[a < b ? b - a : a - b] + f[a + b + 1]) / static_cast<double>(n));
}

}  // namespace sdpipe::heat
