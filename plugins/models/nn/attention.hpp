// Self-attention, softmax(q k^T / sqrt(width)) v, of every sample and head. LibTorch's fused operator, which does not
// hold all weights at once, wins in float32, but for the gradients of wide heads; in bfloat16 two matrix products, the
// plain twin, are two to three times faster (figures: LibTorch 2.11 on a CPU with AVX-512). float64 is plain.
#pragma once

#include <ATen/core/Tensor.h>

#include "plugins/models/nn/kernels.hpp"

namespace sdpipe::nn {

// q, k, v and the result: (batch, heads, positions, width).
at::Tensor attention(const Kernels& kernels, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

// Feature maps (batch, heads * width, height, width of the image) as (batch, heads, positions, width) and back: views,
// where the map is channels-last, as the map that comes back is.
at::Tensor heads_of_map(const at::Tensor& map, int64_t heads);
at::Tensor map_of_heads(const at::Tensor& heads, int64_t height);

}  // namespace sdpipe::nn
