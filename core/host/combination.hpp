// One element of host->lincomb, and one block of it with noise, which the CPU and the CUDA kernels share: C++17, so
// that both compilers read it. T is float or double.
#pragma once

#include <cstddef>

#include "core/base/philox.hpp"

namespace sdpipe {

// sum_k coef[k] x[k][i]
template <class T>
SDP_HOST_DEVICE inline T combined(size_t n_terms, const T* coef, const T* const* x, size_t i) {
  T sum = 0;
  for (size_t k = 0; k < n_terms; ++k) sum += coef[k] * x[k][i];
  return sum;
}

// A row of `length` elements that begins at element `first` of the tensors, and the stream of its noise.
struct NoisyRow {
  Stream stream;
  size_t first, length;
};

// Elements 4 block to 4 block + 3 of a row: out = sum_k coef[k] x[k] + std eta, eta rounded to T as host->random's.
template <class T>
SDP_HOST_DEVICE inline void noisy_block(const NoisyRow& row, uint32_t block, size_t n_terms, const T* coef,
                                        const T* const* x, T std, T* out) {
  const Four eta = NormalNumbers()(row.stream.words(block));
  const size_t begin = size_t{4} * block;
  for (size_t i = 0; i < 4 && begin + i < row.length; ++i) {
    const size_t place = row.first + begin + i;
    out[place] = combined(n_terms, coef, x, place) + std * static_cast<T>(eta.value[i]);
  }
}

}  // namespace sdpipe
