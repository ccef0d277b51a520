// The CUDA kernels of group_norm.hpp behind plain functions: C++17, without headers of CUDA or LibTorch. Memory is the
// current device's; work is queued on `stream`, a cudaStream_t. Each returns 0, or the cudaError_t of a launch that
// failed, for norm_error. Every sum has a fixed order: the same input gives the same bits.
#pragma once

#include <cstdint>

namespace sdpipe::nn {

// x of (samples, channels, pixels) or, channels-last, (samples, pixels, channels), in float32 or, `narrow`, bfloat16;
// not empty, and fewer than 2^31 elements a sample. weight and bias: (channels); offset, scale and shift: (samples,
// channels) or null.
struct NormInput {
  int64_t samples, channels, pixels, groups;
  bool channels_last, narrow, silu;
  const void* x;
  const float *weight, *bias, *offset, *scale, *shift;
};

// y like x; mean and 1 / sqrt(variance + epsilon) of every group: (samples, groups).
struct NormOutput {
  void* y;
  float *mean, *rstd;
};
int launch_group_norm(const NormInput& in, float epsilon, const NormOutput& out, void* stream);

// From dy, like x, and what the forward pass kept: dx like x, and the gradients in weight, bias and what there is of
// offset, scale and shift. `sums` is memory to work in: (3, samples, channels).
struct NormGradients {
  const void* dy;
  const float *mean, *rstd;
  void* dx;
  float *weight, *bias, *offset, *scale, *shift, *sums;
};
int launch_group_norm_backward(const NormInput& in, const NormGradients& g, void* stream);

const char* norm_error(int code);

}  // namespace sdpipe::nn
