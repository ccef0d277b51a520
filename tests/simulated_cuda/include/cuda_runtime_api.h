// CUDA's language and runtime as far as the project's kernels use them, for g++: a .cu file that starts its kernels by
// sdp::launch (core/abi/cuda_launch.hpp) compiles against this header and runs on the CPU. Each block's threads are
// fibers of one thread, so that __syncthreads and the functions of a warp mean what they mean on a GPU; see
// tests/simulated_cuda/kernels.cpp.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_in = 1, unsigned y_in = 1, unsigned z_in = 1) : x(x_in), y(y_in), z(z_in) {}
};

using cudaStream_t = struct CUstream_st*;
enum cudaError_t : int {
  cudaSuccess = 0,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorDevicesUnavailable = 46,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorInvalidResourceHandle = 400
};
enum cudaDeviceAttr {
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
struct cudaDeviceProp {
  char name[256];
  size_t totalGlobalMem;
  int major, minor;
};
#define cudaStreamLegacy (reinterpret_cast<cudaStream_t>(1))

namespace simulated_cuda {

// Where one simulated thread stands.
struct Place {
  dim3 thread, block, block_size, grid;
  void* dynamic_shared;
};
const Place& here();
unsigned lane();
void block_barrier(int line);
void warp_barrier();
// What every lane of this warp gives, once all of those that still run have given it.
const uint64_t* exchanged(uint64_t mine);

// The shared arrays of one library, which are filled with NaN before each block.
struct SharedArrays {
  char *begin, *end;
};
cudaError_t launch(dim3 blocks, dim3 threads, size_t shared_bytes, cudaStream_t stream, SharedArrays arrays,
                   std::function<void()> thread);

template <class T>
T of_lane(T value, unsigned lane_number) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  const uint64_t got = exchanged(bits)[lane_number % 32];
  std::memcpy(&value, &got, sizeof(T));
  return value;
}

}  // namespace simulated_cuda

extern "C" char __start_simulated_shared[] __attribute__((weak, visibility("hidden")));
extern "C" char __stop_simulated_shared[] __attribute__((weak, visibility("hidden")));
#define SIMULATED_CUDA_SHARED_ARRAYS (simulated_cuda::SharedArrays{__start_simulated_shared, __stop_simulated_shared})

#define __host__
#define __device__
#define __global__
#define __grid_constant__
#define __forceinline__ inline
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __shared__ static __attribute__((section("simulated_shared")))
#define threadIdx (simulated_cuda::here().thread)
#define blockIdx (simulated_cuda::here().block)
#define blockDim (simulated_cuda::here().block_size)
#define gridDim (simulated_cuda::here().grid)
#define warpSize 32

#define __syncthreads() simulated_cuda::block_barrier(__LINE__)
inline void __syncwarp(unsigned = ~0u) { simulated_cuda::warp_barrier(); }
template <class T>
T __shfl_sync(unsigned, T value, int from) {
  return simulated_cuda::of_lane(value, static_cast<unsigned>(from));
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return simulated_cuda::of_lane(value, simulated_cuda::lane() ^ static_cast<unsigned>(mask));
}
template <class T>
T __shfl_down_sync(unsigned, T value, unsigned delta) {
  const unsigned lane = simulated_cuda::lane();
  return simulated_cuda::of_lane(value, lane + delta < 32 ? lane + delta : lane);
}
template <class T>
T __shfl_up_sync(unsigned, T value, unsigned delta) {
  const unsigned lane = simulated_cuda::lane();
  return simulated_cuda::of_lane(value, lane >= delta ? lane - delta : lane);
}
template <class T>
T __ldg(const T* place) {
  return *place;
}

cudaError_t cudaGetLastError();
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaRuntimeGetVersion(int* version);
cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value);
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaFree(void* memory);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
