/* Marks functions that the CPU and a CUDA kernel share, so that both compute one formula: empty except for nvcc. */
#ifndef SDPIPE_HOST_DEVICE_H
#define SDPIPE_HOST_DEVICE_H

#ifdef __CUDACC__
#define SDP_HOST_DEVICE __host__ __device__
#else
#define SDP_HOST_DEVICE
#endif

#endif /* SDPIPE_HOST_DEVICE_H */
