#include "core/host/arithmetic_cuda.hpp"

#include <algorithm>

#include "core/abi/cuda_launch.hpp"

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
  if (i < size) out[i] = combined(terms.n, terms.coef, terms.x, i);
}

template <class T>
Terms<T> terms_of(size_t n_terms, const double* coef, const T* const* x) {
  Terms<T> terms{n_terms, {}, {}};
  std::transform(coef, coef + n_terms, terms.coef, [](double c) { return static_cast<T>(c); });
  std::copy(x, x + n_terms, terms.x);
  return terms;
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

template <class T>
__global__ void lincomb_with_noise(const __grid_constant__ Rows rows, const __grid_constant__ Terms<T> terms, T std,
                                   T* out, size_t first_row, size_t length) {
  const size_t block = size_t{blockIdx.x} * threads + threadIdx.x;
  if (block >= (length + 3) / 4) return;
  const NoisyRow row{rows.stream[blockIdx.y], (first_row + blockIdx.y) * length, length};
  noisy_block(row, static_cast<uint32_t>(block), terms.n, terms.coef, terms.x, std, out);
}

unsigned grid(size_t work) { return static_cast<unsigned>((work + threads - 1) / threads); }

// As many rows from `first` on as one launch takes, with a thread for every four numbers.
struct Part {
  Rows rows;
  dim3 blocks;
};

Part part_of(const Stream* rows, size_t first, size_t n_rows, size_t length) {
  const size_t n = std::min(Rows::max, n_rows - first);
  Part part{{}, dim3(grid((length + 3) / 4), static_cast<unsigned>(n))};
  std::copy(rows + first, rows + first + n, part.rows.stream);
  return part;
}

}  // namespace

template <class T>
int launch_lincomb(T* out, size_t size, size_t n_terms, const double* coef, const T* const* x, void* stream) {
  if (size == 0) return cudaSuccess;
  const Terms<T> terms = terms_of(n_terms, coef, x);
  return sdp::launch({grid(size), threads, 0, static_cast<cudaStream_t>(stream)}, lincomb<T>, terms, out, size);
}

template <class Numbers, class T>
int launch_fill(T* out, size_t length, size_t n_rows, const Stream* rows, void* stream) {
  if (length == 0) return cudaSuccess;
  for (size_t first = 0; first < n_rows; first += Rows::max) {
    const Part part = part_of(rows, first, n_rows, length);
    T* begin = out + first * length;
    const cudaError_t error = sdp::launch({part.blocks, threads, 0, static_cast<cudaStream_t>(stream)},
                                          fill<Numbers, T>, part.rows, begin, length);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

template <class T>
int launch_lincomb_with_noise(T* out, size_t length, size_t n_rows, size_t n_terms, const double* coef,
                              const T* const* x, double std, const Stream* rows, void* stream) {
  if (length == 0) return cudaSuccess;
  const Terms<T> terms = terms_of(n_terms, coef, x);
  const auto scale = static_cast<T>(std);
  for (size_t first = 0; first < n_rows; first += Rows::max) {
    const Part part = part_of(rows, first, n_rows, length);
    const cudaError_t error = sdp::launch({part.blocks, threads, 0, static_cast<cudaStream_t>(stream)},
                                          lincomb_with_noise<T>, part.rows, terms, scale, out, first, length);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

template int launch_lincomb<float>(float*, size_t, size_t, const double*, const float* const*, void*);
template int launch_lincomb<double>(double*, size_t, size_t, const double*, const double* const*, void*);
template int launch_fill<UniformNumbers, float>(float*, size_t, size_t, const Stream*, void*);
template int launch_fill<UniformNumbers, double>(double*, size_t, size_t, const Stream*, void*);
template int launch_fill<NormalNumbers, float>(float*, size_t, size_t, const Stream*, void*);
template int launch_fill<NormalNumbers, double>(double*, size_t, size_t, const Stream*, void*);
template int launch_lincomb_with_noise<float>(float*, size_t, size_t, size_t, const double*, const float* const*,
                                              double, const Stream*, void*);
template int launch_lincomb_with_noise<double>(double*, size_t, size_t, size_t, const double*, const double* const*,
                                               double, const Stream*, void*);

}  // namespace sdpipe
