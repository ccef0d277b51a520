#include "tests/device/planted.hpp"

#include "core/abi/cuda_launch.hpp"

namespace sdpipe::testing {
namespace {

constexpr unsigned threads = 256;

__global__ void reversed(const float* x, float* y) {
  __shared__ float values[threads];
  values[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  y[threadIdx.x] = values[threads - 1 - threadIdx.x];
}

__global__ void reversed_without_barrier(const float* x, float* y) {
  __shared__ float values[threads];
  values[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = values[threads - 1 - threadIdx.x];
}

__global__ void split_barrier(float* y) {
  if (threadIdx.x < 128)
    __syncthreads();
  else
    __syncthreads();
  y[threadIdx.x] = 1;
}

__global__ void unwritten(float* y) {
  __shared__ float values[threads];
  y[threadIdx.x] = values[threadIdx.x];
}

__global__ void warp_sums(const float* x, float* y) {
  float sum = x[threadIdx.x];
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_xor_sync(~0u, sum, distance);
  y[threadIdx.x] = sum;
}

__global__ void past_the_end(float* y) {
  if (threadIdx.x == 0) y[threads + 16] = 1;
}

sdp::Launch one_block(void* stream) { return {1, threads, 0, static_cast<cudaStream_t>(stream)}; }

}  // namespace

int launch_reversed(const float* x, float* y, void* s) { return sdp::launch(one_block(s), reversed, x, y); }
int launch_reversed_without_barrier(const float* x, float* y, void* s) {
  return sdp::launch(one_block(s), reversed_without_barrier, x, y);
}
int launch_split_barrier(float* y, void* s) { return sdp::launch(one_block(s), split_barrier, y); }
int launch_unwritten(float* y, void* s) { return sdp::launch(one_block(s), unwritten, y); }
int launch_warp_sums(const float* x, float* y, void* s) { return sdp::launch(one_block(s), warp_sums, x, y); }
int launch_past_the_end(float* y, void* s) { return sdp::launch(one_block(s), past_the_end, y); }

}  // namespace sdpipe::testing
