// What group_norm.cpp does on a CUDA GPU, in builds with SDPIPE_CUDA; equal to the CPU's to rounding. x is dense, in
// channels-last or not; `affine` holds weight, bias, offset, scale and shift.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace sdpipe::nn {

// float32 or bfloat16 on a GPU, and of a size that the kernels can count.
bool suits_gpu_kernels(const at::Tensor& x);

struct NormedOnGpu {
  at::Tensor y, mean, rstd;  // like x; (batch, group), float32
};
NormedOnGpu normalised_on_gpu(const at::Tensor& x, const std::vector<at::Tensor>& affine, int64_t groups, double eps,
                              bool silu, bool channels_last);

// The gradients in x, weight, bias, offset, scale and shift; undefined for those of the last three that are. float32
// but for that in x.
std::vector<at::Tensor> differentiated_on_gpu(const at::Tensor& x, const std::vector<at::Tensor>& affine,
                                              const at::Tensor& mean, const at::Tensor& rstd, const at::Tensor& dy,
                                              bool silu, bool channels_last);

}  // namespace sdpipe::nn
