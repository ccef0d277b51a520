// The CUDA kernels of the host's services behind plain functions, for C++17 and without headers of CUDA or LibTorch.
// Memory is the current device's. Each queues its work on `stream`, a cudaStream_t, and returns without waiting: 0, or
// the cudaError_t of a launch that failed, for require_started. T is float or double.
#pragma once

#include <cstddef>

#include "core/host/combination.hpp"

namespace sdpipe {

constexpr size_t max_terms = 8;  // of one launch

// out[i] = sum_k coef[k] x[k][i] for `n_terms` <= max_terms; each x[k] is apart from `out` or is `out`.
template <class T>
int launch_lincomb(T* out, size_t size, size_t n_terms, const double* coef, const T* const* x, void* stream);

// Row b of out (n_rows, length) gets the first numbers of the stream rows[b]; Numbers is UniformNumbers or
// NormalNumbers.
template <class Numbers, class T>
int launch_fill(T* out, size_t length, size_t n_rows, const Stream* rows, void* stream);

// Row b of (n_rows, length): out = sum_k coef[k] x[k] + std eta with the normal numbers of the stream rows[b]; terms as
// in launch_lincomb.
template <class T>
int launch_lincomb_with_noise(T* out, size_t length, size_t n_rows, size_t n_terms, const double* coef,
                              const T* const* x, double std, const Stream* rows, void* stream);

}  // namespace sdpipe
