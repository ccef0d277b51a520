// Resampling by two with a finite impulse response filter, after StyleGAN2 (Karras et al., arXiv 1912.04958) and
// Appendix H of score_sde (arXiv 2011.13456): the image is convolved with the outer product of `taps`, normalised to
// sum 1 (times 4 when doubling, for three of four pixels are zeros put in).
//
// Every channel is filtered by itself: depthwise convolutions, which beat filtering reshaped single-channel images.
// Images are (batch, channel, height, width) with even height and width; their dtype and device are kept.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace sdpipe::nn {

at::Tensor fir_halve(const at::Tensor& x, const std::vector<double>& taps);
at::Tensor fir_double(const at::Tensor& x, const std::vector<double>& taps);

// The same joined with a 3x3 convolution with `weight` (out, in, 3, 3) at the higher resolution. Borders differ from
// doing one after the other: nothing is cut off between the two.
at::Tensor fir_halve_conv(const at::Tensor& x, const std::vector<double>& taps, const at::Tensor& weight,
                          const at::Tensor& bias);
at::Tensor fir_double_conv(const at::Tensor& x, const std::vector<double>& taps, const at::Tensor& weight,
                           const at::Tensor& bias);

}  // namespace sdpipe::nn
