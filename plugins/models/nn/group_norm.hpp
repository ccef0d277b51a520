// Group normalisation (Wu and He, arXiv 1803.08494) with what networks put in front of it and behind. The result and
// its gradients each take two passes over a sample, of which the second mostly finds it in the cache, and of the maps
// only x is held from the one to the other. With statistics of each group:
//
//   y = f((norm(x + offset) weight + bias) (1 + scale) + shift),   f(v) = v or SiLU, v / (1 + exp(-v))
//
// The fused kernel takes x of (batch, channel, height, width) in float32 or bfloat16 on the CPU and, in builds with
// SDPIPE_CUDA, on a GPU, with statistics in at least float32; faster where the memory is channels-last. Anything else
// takes the plain twin, LibTorch's own operators. Results do not depend on the number of threads. A second derivative
// of the fused kernel is refused.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/modules/normalization.h>

#include "plugins/models/nn/fast_paths.hpp"

namespace sdpipe::nn {

// Of every sample and channel: (batch, channel) each, or undefined. Scale and shift come together.
struct Modulation {
  at::Tensor offset, scale, shift;
};

// x (batch, channel, height, width). The fused kernel throws c10::Error where the channels are not those of `norm` or
// do not make whole groups, or where the modulation is not one for each sample and channel.
at::Tensor group_norm(const FastPaths& fast, const torch::nn::GroupNorm& norm, const at::Tensor& x, bool silu);
at::Tensor group_norm(const FastPaths& fast, const torch::nn::GroupNorm& norm, const at::Tensor& x,
                      const Modulation& modulation, bool silu);

// x as the fused kernels and convolutions of a network like it best: channels-last where group_norm is fused.
at::Tensor arranged(const FastPaths& fast, const at::Tensor& x);

}  // namespace sdpipe::nn
