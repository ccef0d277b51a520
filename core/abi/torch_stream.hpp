/* LibTorch's current stream, for the host and for networks with CUDA kernels of their own, whose backward pass has no
 * Call to ask. For files that are compiled for GPUs alone. */
#ifndef SDPIPE_TORCH_STREAM_HPP
#define SDPIPE_TORCH_STREAM_HPP

#include <c10/core/Device.h>
#ifdef SDPIPE_SIMULATED_CUDA /* the project's tests without a GPU */
#include <c10/core/impl/VirtualGuardImpl.h>
#else
#include <c10/cuda/CUDAStream.h>
#endif

namespace sdp {

/* The cudaStream_t that LibTorch queues its work on, on this thread and the GPU `device`; NULL is the default stream. */
inline void* torch_stream(c10::Device device) {
#ifdef SDPIPE_SIMULATED_CUDA
  return reinterpret_cast<void*>(c10::impl::VirtualGuardImpl(device.type()).getStream(device).id());
#else
  return c10::cuda::getCurrentCUDAStream(device.index()).stream();
#endif
}

}  // namespace sdp

#endif /* SDPIPE_TORCH_STREAM_HPP */
