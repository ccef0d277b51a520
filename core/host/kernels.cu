#include "core/host/kernels.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>

namespace sdpipe {
namespace {

constexpr size_t threads = 256;

template <class T>
struct Terms {
  size_t n;
  T coef[max_terms];
  const T* x[max_terms];
};

template <class T>
__global__ void lincomb(const __grid_constant__ Terms<T> terms, T* out, size_t size) {
  const size_t i = size_t{blockIdx.x} * threads + threadIdx.x;
  if (i >= size) return;
  T sum = 0;
  for (size_t k = 0; k < terms.n; ++k) sum += terms.coef[k] * terms.x[k][i];
  out[i] = sum;
}

// The rows travel as an argument of the kernel, which may be 4 KiB: no copy to wait for, no memory to keep.
struct Rows {
  static constexpr size_t max = 64;
  Stream stream[max];
};

template <class Numbers, class T>
__global__ void fill(const __grid_constant__ Rows rows, T* out, size_t length) {
  const size_t block = size_t{blockIdx.x} * threads + threadIdx.x;
  if (block >= (length + 3) / 4) return;
  fill_block<Numbers>(rows.stream[blockIdx.y], static_cast<uint32_t>(block), out + blockIdx.y * length, length);
}

unsigned grid(size_t work) { return static_cast<unsigned>((work + threads - 1) / threads); }

}  // namespace

template <class T>
int launch_lincomb(T* out, size_t size, size_t n_terms, const double* coef, const T* const* x, void* stream) {
  if (size == 0) return cudaSuccess;
  Terms<T> terms{n_terms, {}, {}};
  std::transform(coef, coef + n_terms, terms.coef, [](double c) { return static_cast<T>(c); });
  std::copy(x, x + n_terms, terms.x);
  lincomb<T><<<grid(size), threads, 0, static_cast<cudaStream_t>(stream)>>>(terms, out, size);
  return cudaGetLastError();
}

template <class Numbers, class T>
int launch_fill(T* out, size_t length, size_t n_rows, const Stream* rows, void* stream) {
  if (length == 0) return cudaSuccess;
  for (size_t first = 0; first < n_rows; first += Rows::max) {
    const size_t n = std::min(Rows::max, n_rows - first);
    Rows part;
    std::copy(rows + first, rows + first + n, part.stream);
    const dim3 blocks(grid((length + 3) / 4), static_cast<unsigned>(n));
    fill<Numbers><<<blocks, threads, 0, static_cast<cudaStream_t>(stream)>>>(part, out + first * length, length);
    if (const cudaError_t error = cudaGetLastError()) return error;
  }
  return cudaSuccess;
}

const char* launch_error(int code) { return cudaGetErrorString(static_cast<cudaError_t>(code)); }

template int launch_lincomb<float>(float*, size_t, size_t, const double*, const float* const*, void*);
template int launch_lincomb<double>(double*, size_t, size_t, const double*, const double* const*, void*);
template int launch_fill<UniformNumbers, float>(float*, size_t, size_t, const Stream*, void*);
template int launch_fill<UniformNumbers, double>(double*, size_t, size_t, const Stream*, void*);
template int launch_fill<NormalNumbers, float>(float*, size_t, size_t, const Stream*, void*);
template int launch_fill<NormalNumbers, double>(double*, size_t, size_t, const Stream*, void*);

}  // namespace sdpipe
