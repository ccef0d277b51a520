#include "core/training/optimizer_cuda.hpp"

#include "core/abi/cuda_launch.hpp"

namespace sdpipe {
namespace {

constexpr size_t threads = 256;
constexpr size_t per_block = size_t{1} << 14;

// The sum of every thread's value, in the first thread.
__device__ double sum_of_block(double value) {
  __shared__ double values[threads];
  values[threadIdx.x] = value;
  for (size_t half = threads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) values[threadIdx.x] += values[threadIdx.x + half];
  }
  return values[0];
}

template <class T>
__global__ void square_sums(const T* x, size_t n, double* blocks) {
  const size_t first = size_t{blockIdx.x} * per_block;
  const size_t last = first + per_block < n ? first + per_block : n;
  double sum = 0;
  for (size_t i = first + threadIdx.x; i < last; i += threads) {
    const double value = static_cast<double>(x[i]);
    sum += value * value;
  }
  sum = sum_of_block(sum);
  if (threadIdx.x == 0) blocks[blockIdx.x] = sum;
}

__global__ void sum_blocks(const double* blocks, size_t n, double* total) {
  double sum = 0;
  for (size_t i = threadIdx.x; i < n; i += threads) sum += blocks[i];
  sum = sum_of_block(sum);
  if (threadIdx.x == 0) *total = sum;
}

template <class T>
__global__ void adam_all(const AdamConstants<T> c, const T* g, T* p, T* m, T* v, T* ema, size_t n) {
  const size_t i = size_t{blockIdx.x} * threads + threadIdx.x;
  if (i < n) adam(c, g[i], p[i], m[i], v[i], ema[i]);
}

}  // namespace

size_t square_sum_blocks(size_t n) { return (n + per_block - 1) / per_block; }

template <class T>
int launch_square_sum(const T* x, size_t n, double* blocks, double* sum, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  const size_t count = square_sum_blocks(n);
  if (count > 0) {
    const cudaError_t error =
        sdp::launch({static_cast<unsigned>(count), threads, 0, queue}, square_sums<T>, x, n, blocks);
    if (error != cudaSuccess) return error;
  }
  return sdp::launch({1, threads, 0, queue}, sum_blocks, blocks, count, sum);
}

template <class T>
int launch_adam(const AdamConstants<T>& constants, const T* g, T* p, T* m, T* v, T* ema, size_t n, void* stream) {
  if (n == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>((n + threads - 1) / threads);
  return sdp::launch({blocks, threads, 0, static_cast<cudaStream_t>(stream)}, adam_all<T>, constants, g, p, m, v, ema,
                     n);
}

template int launch_square_sum<float>(const float*, size_t, double*, double*, void*);
template int launch_square_sum<double>(const double*, size_t, double*, double*, void*);
template int launch_adam<float>(const AdamConstants<float>&, const float*, float*, float*, float*, float*, size_t,
                                void*);
template int launch_adam<double>(const AdamConstants<double>&, const double*, double*, double*, double*, double*,
                                 size_t, void*);

}  // namespace sdpipe
