// Half or twice the resolution of images (batch, channel, height, width) without parameters: means of 2 x 2 pixels, and
// nearest neighbours.
#pragma once

#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/upsample_nearest2d.h>

namespace sdpipe::nn {

inline at::Tensor halved(const at::Tensor& x) { return at::avg_pool2d(x, 2); }
inline at::Tensor doubled(const at::Tensor& x) { return at::upsample_nearest2d(x, {2 * x.size(2), 2 * x.size(3)}); }

}  // namespace sdpipe::nn
