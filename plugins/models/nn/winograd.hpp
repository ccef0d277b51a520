// 3 x 3 convolutions with a quarter of the multiplications, in float32 on the CPU: F(4x4, 3x3) of Lavin and Gray,
// "Fast algorithms for convolutional neural networks" (arXiv 1509.09308). Stride 1, one pixel of zeros around.
//
// Relative error about 5e-6, against 2e-7 of the plain sum; of the filters' gradient 1e-6, however many the tiles.
// Tensors are on the CPU, of any memory format and any size, all of one dtype: float32, or bfloat16, which is widened
// as it is read and gives the result of float32, rounded. Results are channels-last. Equal bits for every number of
// threads. Every call transforms the filters anew: to hold them would take four times what the weights
// take in float32.
#pragma once

#include <ATen/core/Tensor.h>

namespace sdpipe::nn::winograd {

inline bool takes(at::ScalarType dtype) { return dtype == at::kFloat || dtype == at::kBFloat16; }

// x (batch, in, height, width), weight (out, in, 3, 3), bias (out) or undefined: (batch, out, height, width).
at::Tensor convolve(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

// What convolve's transpose makes of gy (batch, out, height, width): (batch, in, height, width).
at::Tensor input_gradient(const at::Tensor& gy, const at::Tensor& weight);

// The gradient of the sum of gy * convolve(x, weight) in weight: (out, in, 3, 3).
at::Tensor weight_gradient(const at::Tensor& gy, const at::Tensor& x);

}  // namespace sdpipe::nn::winograd
