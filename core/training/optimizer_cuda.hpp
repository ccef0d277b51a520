// The optimizer's CUDA kernels behind plain functions, as core/host/arithmetic_cuda.hpp: queued on `stream`, a
// cudaStream_t; 0, or the cudaError_t of a launch that failed. T is float or double.
#pragma once

#include <cstddef>

#include "core/training/adam.hpp"

namespace sdpipe {

// How many doubles launch_square_sum needs to work in.
size_t square_sum_blocks(size_t n);

// *sum = sum of x[i]^2, in double: blocks of fixed size, each a tree of fixed form, added in a fixed order. The bits
// depend on x alone, neither on the GPU nor on what else it does.
template <class T>
int launch_square_sum(const T* x, size_t n, double* blocks, double* sum, void* stream);

// adam() for each of n elements.
template <class T>
int launch_adam(const AdamConstants<T>& constants, const T* g, T* p, T* m, T* v, T* ema, size_t n, void* stream);

}  // namespace sdpipe
