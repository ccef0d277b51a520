// Self-attention, softmax(q k^T / sqrt(width)) v, of every sample and head: by LibTorch's fused operator, which does
// not hold all weights at once, or by two matrix products, the plain twin. On the CPU (figures: LibTorch 2.11 with
// AVX-512) the fused one is faster in float32, but for the gradients of heads wider than 64, and the plain one two to
// three times faster in bfloat16; so those and float64 are plain, up to 2048 positions. On a GPU all are fused.
#pragma once

#include <ATen/core/Tensor.h>

#include "plugins/models/nn/fast_paths.hpp"

namespace sdpipe::nn {

// q, k, v and the result: (batch, heads, positions, width).
at::Tensor attention(const FastPaths& fast, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

// Feature maps (batch, heads * width, height, width of the image) as (batch, heads, positions, width) and back: views,
// where the map is channels-last, as the map that comes back is.
at::Tensor heads_of_map(const at::Tensor& map, int64_t heads);
at::Tensor map_of_heads(const at::Tensor& heads, int64_t height);

}  // namespace sdpipe::nn
