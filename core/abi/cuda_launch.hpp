/* How a .cu file starts its kernels: for authors of plugins with kernels of their own, and for the host's.
 *
 *   __global__ void scale(float factor, const float* x, float* y, size_t n);
 *   ...
 *   const cudaError_t error = sdp::launch({blocks, threads, 0, stream}, scale, factor, x, y, n);
 *
 * It is what scale<<<blocks, threads, 0, stream>>>(factor, x, y, n) does, in a form that a C++ compiler understands
 * too: the project's tests run the same kernels on a simulated GPU. SDP_DYNAMIC_SHARED(T, name) declares the shared
 * memory whose size is the launch's, in place of `extern __shared__ T name[];`. */
#ifndef SDPIPE_CUDA_LAUNCH_HPP
#define SDPIPE_CUDA_LAUNCH_HPP

#include <cuda_runtime.h>

#include <cstddef>
#include <tuple>
#include <utility>

namespace sdp {

struct Launch {
  dim3 blocks, threads;
  std::size_t shared_bytes;
  cudaStream_t stream;
};

#ifdef __CUDACC__

#define SDP_DYNAMIC_SHARED(T, name) extern __shared__ T name[]

template <class... P, class... A>
cudaError_t launch(const Launch& at, void (*kernel)(P...), A&&... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = at.blocks;
  config.blockDim = at.threads;
  config.dynamicSmemBytes = at.shared_bytes;
  config.stream = at.stream;
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, static_cast<P>(std::forward<A>(arguments))...);
  if (error != cudaSuccess) cudaGetLastError(); /* told here, so not once more to whoever asks next */
  return error;
}

#else

#define SDP_DYNAMIC_SHARED(T, name) T* name = static_cast<T*>(simulated_cuda::here().dynamic_shared)

template <class... P, class... A>
cudaError_t launch(const Launch& at, void (*kernel)(P...), A&&... arguments) {
  const std::tuple<P...> copies(static_cast<P>(std::forward<A>(arguments))...);
  return simulated_cuda::launch(at.blocks, at.threads, at.shared_bytes, at.stream, SIMULATED_CUDA_SHARED_ARRAYS,
                                [kernel, copies] { std::apply(kernel, copies); });
}

#endif

}  // namespace sdp

#endif /* SDPIPE_CUDA_LAUNCH_HPP */
