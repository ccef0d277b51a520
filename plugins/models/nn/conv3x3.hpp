// A 3 x 3 convolution with stride 1 and one pixel of zeros around, y = weight * x + bias, and its gradients in x,
// weight and bias. Winograd's form (winograd.hpp) takes float32 and bfloat16 on the CPU where channels and pixels are
// so many that it is faster; anything else takes the plain twin, at::conv2d. A second derivative of Winograd's form is
// refused.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/modules/conv.h>

#include "plugins/models/nn/fast_paths.hpp"

namespace sdpipe::nn {

// x (batch, in, height, width) in any memory format. Winograd's y is channels-last.
at::Tensor conv3x3(const FastPaths& fast, const torch::nn::Conv2d& conv, const at::Tensor& x);

}  // namespace sdpipe::nn
