#include <algorithm>

#include "core/abi/cuda_launch.hpp"
#include "plugins/corruptions/heat_axis.hpp"
#include "plugins/corruptions/heat_blur_cuda.hpp"

namespace sdpipe {
namespace {

constexpr int threads = 256;
constexpr int tile = 16;  // tile * tile = threads

// The levels travel as an argument of the kernel, which may be 4 KiB: no copy to wait for.
struct Levels {
  static constexpr int64_t max = 256;
  double of[max];
};

struct Image {
  int64_t channels, height, width;

  __host__ __device__ int64_t plane() const { return height * width; }
  __host__ __device__ int64_t longest() const { return height > width ? height : width; }
  __host__ __device__ int64_t smallest_matrices() const {
    return height == width ? height * height : height * height + width * width;
  }
};

// f for an axis of n pixels into `f`, by all threads of a block; cosine (2n) and decay (n) are overwritten.
template <class T>
__device__ void make_table(int64_t n, double level, double* cosine, double* decay, double* f) {
  for (int64_t i = threadIdx.x; i < 2 * n; i += threads) cosine[i] = heat::cosine_at(i, n);
  for (int64_t k = threadIdx.x; k < n; k += threads) decay[k] = heat::eigenvalue<T>(k, n, level);
  __syncthreads();
  for (int64_t r = threadIdx.x; r < 2 * n; r += threads) f[r] = heat::mirrored_sum(cosine, decay, n, n, r);
  __syncthreads();
}

template <class T>
__device__ void make_matrix(int64_t n, const double* f, T* matrix) {
  for (int64_t i = threadIdx.x; i < n * n; i += threads) matrix[i] = heat::entry<T>(f, n, i / n, i % n);
}

// c (rows x columns) = a (rows x depth) b (depth x columns), by all threads of a block, each with a few rows of a
// column at a time.
template <class T>
__device__ void multiply(int64_t rows, int64_t columns, int64_t depth, const T* a, const T* b, T* c) {
  constexpr int few = 4;
  for (int64_t i = threadIdx.x; i < (rows + few - 1) / few * columns; i += threads) {
    const int64_t row = i / columns * few, column = i % columns;
    const T* of_row[few];
    for (int q = 0; q < few; ++q) of_row[q] = a + (row + q < rows ? row + q : row) * depth;
    T sum[few] = {};
    for (int64_t k = 0; k < depth; ++k) {
      const T value = b[k * columns + column];
      for (int q = 0; q < few; ++q) sum[q] += of_row[q][k] * value;
    }
    for (int q = 0; q < few && row + q < rows; ++q) c[(row + q) * columns + column] = sum[q];
  }
}

// ---- an image in shared memory: one block for each plane, all in one kernel

size_t shared_doubles(const Image& image) { return 5 * static_cast<size_t>(image.longest()); }
template <class T>
size_t shared_bytes(const Image& image) {
  return shared_doubles(image) * sizeof(double) +
         static_cast<size_t>(2 * image.plane() + image.smallest_matrices()) * sizeof(T);
}

template <class T>
__global__ void blur_planes(const __grid_constant__ Levels levels, const Image image, const T* x, T* y) {
  SDP_DYNAMIC_SHARED(double, shared_memory);
  const int64_t h = image.height, w = image.width, n = image.longest();
  const double level = levels.of[blockIdx.x / image.channels];
  const T* from = x + blockIdx.x * image.plane();
  T* to = y + blockIdx.x * image.plane();
  if (level == 0) {
    for (int64_t i = threadIdx.x; i < image.plane(); i += threads) to[i] = from[i];
    return;
  }
  double *cosine = shared_memory, *decay = cosine + 2 * n, *f = decay + n;
  T *plane = reinterpret_cast<T*>(f + 2 * n), *half = plane + image.plane(), *a_h = half + image.plane();
  T* a_w = h == w ? a_h : a_h + h * h;
  for (int64_t i = threadIdx.x; i < image.plane(); i += threads) plane[i] = from[i];
  make_table<T>(h, level, cosine, decay, f);
  make_matrix(h, f, a_h);
  if (h != w) {
    make_table<T>(w, level, cosine, decay, f);
    make_matrix(w, f, a_w);
  }
  __syncthreads();
  multiply(h, w, w, plane, a_w, half);
  __syncthreads();
  multiply(h, w, h, a_h, half, to);
}

// ---- any size: the tables, then a product along each axis, in tiles

// Tables of one sample: cosine and decay, which both axes use in turn, then f of the height and of the width.
__host__ __device__ int64_t table_doubles(const Image& image) {
  return 3 * image.longest() + 2 * (image.height + image.width);
}

template <class T>
__global__ void make_tables(const __grid_constant__ Levels levels, const Image image, double* tables) {
  double* cosine = tables + blockIdx.x * table_doubles(image);
  double *decay = cosine + 2 * image.longest(), *f = cosine + 3 * image.longest();
  const double level = levels.of[blockIdx.x];
  make_table<T>(image.height, level, cosine, decay, f);
  make_table<T>(image.width, level, cosine, decay, f + 2 * image.height);
}

// One tile of x A (along the width) or of A x (along the height) for one plane; each thread has one element of it.
template <class T, bool AlongWidth>
__global__ void blur_axis(const __grid_constant__ Levels levels, const Image image, const double* tables, const T* x,
                          T* y) {
  __shared__ T left[tile][tile], right[tile][tile];
  const int64_t h = image.height, w = image.width, depth = AlongWidth ? w : h;
  const int64_t tiles_down = (h + tile - 1) / tile, tiles_across = (w + tile - 1) / tile;
  const int64_t place = blockIdx.x % (tiles_down * tiles_across), index = blockIdx.x / (tiles_down * tiles_across);
  const int64_t sample = index / image.channels;
  const int64_t r = threadIdx.x / tile, c = threadIdx.x % tile;
  const int64_t row = place / tiles_across * tile + r, column = place % tiles_across * tile + c;
  const double* f = tables + sample * table_doubles(image) + 3 * image.longest() + (AlongWidth ? 2 * h : 0);
  const T* from = x + index * image.plane();
  const auto pixel = [&](int64_t i, int64_t j) { return i < h && j < w ? from[i * w + j] : T{0}; };
  const auto matrix = [&](int64_t i, int64_t j) {
    return i < depth && j < depth ? heat::entry<T>(f, depth, i, j) : T{0};
  };
  const bool inside = row < h && column < w;
  T sum = 0;
  if (levels.of[sample] == 0) {
    sum = pixel(row, column);
  } else {
    for (int64_t k = 0; k < depth; k += tile) {
      left[r][c] = AlongWidth ? pixel(row, k + c) : matrix(row, k + c);
      right[r][c] = AlongWidth ? matrix(k + r, column) : pixel(k + r, column);
      __syncthreads();
      for (int i = 0; i < tile; ++i) sum += left[r][i] * right[i][c];
      __syncthreads();
    }
  }
  if (inside) y[index * image.plane() + row * w + column] = sum;
}

// The most that a kernel of the current device may ask for.
cudaError_t most_shared_memory(int& bytes) {
  int device = 0;
  if (const cudaError_t error = cudaGetDevice(&device)) return error;
  return cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
}

template <class T>
bool fits_shared_memory(const Image& image) {
  int most = 0;
  return most_shared_memory(most) == cudaSuccess && shared_bytes<T>(image) <= static_cast<size_t>(most);
}

// Samples that one round of launches takes: one argument's levels.
struct Part {
  int64_t samples;
  Levels levels;
};

template <class T>
cudaError_t blur_in_shared_memory(const Part& part, const Image& image, const T* x, T* y, cudaStream_t queue) {
  // The limit is the kernel's, not the launch's: every thread sets the same, whatever the size of its images.
  int most = 0;
  if (const cudaError_t error = most_shared_memory(most)) return error;
  if (const cudaError_t error = cudaFuncSetAttribute(reinterpret_cast<const void*>(blur_planes<T>),
                                                     cudaFuncAttributeMaxDynamicSharedMemorySize, most))
    return error;
  return sdp::launch({static_cast<unsigned>(part.samples * image.channels), threads, shared_bytes<T>(image), queue},
                     blur_planes<T>, part.levels, image, x, y);
}

template <class T>
cudaError_t blur_in_tiles(const Part& part, const Image& image, const T* x, T* y, double* tables, T* half,
                          cudaStream_t queue) {
  const int64_t tiles = ((image.height + tile - 1) / tile) * ((image.width + tile - 1) / tile);
  const auto blocks = static_cast<unsigned>(part.samples * image.channels * tiles);
  const sdp::Launch of_samples{static_cast<unsigned>(part.samples), threads, 0, queue},
      of_tiles{blocks, threads, 0, queue};
  cudaError_t error = sdp::launch(of_samples, make_tables<T>, part.levels, image, tables);
  if (error == cudaSuccess) error = sdp::launch(of_tiles, blur_axis<T, true>, part.levels, image, tables, x, half);
  if (error == cudaSuccess) error = sdp::launch(of_tiles, blur_axis<T, false>, part.levels, image, tables, half, y);
  return error;
}

}  // namespace

template <class T>
HeatScratch heat_scratch(const HeatBatch& batch) {
  const Image image{batch.channels, batch.height, batch.width};
  if (fits_shared_memory<T>(image)) return {0, 0};
  const int64_t at_once = std::min(batch.samples, Levels::max);
  return {at_once * table_doubles(image), at_once * image.channels * image.plane()};
}

template <class T>
int launch_heat_blur(const HeatBatch& batch, const T* x, T* y, double* doubles, T* elements, void* stream) {
  const Image image{batch.channels, batch.height, batch.width};
  const auto queue = static_cast<cudaStream_t>(stream);
  for (int64_t first = 0; first < batch.samples; first += Levels::max) {
    Part part{std::min(Levels::max, batch.samples - first), {}};
    std::copy_n(batch.level + first, part.samples, part.levels.of);
    const int64_t offset = first * image.channels * image.plane();
    const cudaError_t error = doubles ? blur_in_tiles(part, image, x + offset, y + offset, doubles, elements, queue)
                                      : blur_in_shared_memory(part, image, x + offset, y + offset, queue);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

const char* heat_error(int code) { return cudaGetErrorString(static_cast<cudaError_t>(code)); }

template HeatScratch heat_scratch<float>(const HeatBatch&);
template HeatScratch heat_scratch<double>(const HeatBatch&);
template int launch_heat_blur<float>(const HeatBatch&, const float*, float*, double*, float*, void*);
template int launch_heat_blur<double>(const HeatBatch&, const double*, double*, double*, double*, void*);

}  // namespace sdpipe
