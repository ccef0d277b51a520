// How a network is told a number: as sines and cosines of it, (batch, width). The condition is (batch), float64.
#pragma once

#include <ATen/core/Tensor.h>

namespace sdpipe::nn {

// sin and cos of the condition times width / 2 frequencies that fall geometrically from 1 to 1e-4 (Ho et al., arXiv
// 2006.11239). The width is at least 4; an odd one gets a column of zeros.
at::Tensor sinusoids(const at::Tensor& condition, int64_t width);

// cos and sin of the condition times width / 2 frequencies that fall from 1 towards 1e-4, which they do not reach
// (Vaswani et al., arXiv 1706.03762). The width is even.
at::Tensor cosines_and_sines(const at::Tensor& condition, int64_t width);

// sin and cos of 2 pi log(condition) times the frequencies (n) of a Fourier embedding: (batch, 2 n) (Song et al., arXiv
// 2011.13456).
at::Tensor fourier_features(const at::Tensor& condition, const at::Tensor& frequencies);

// Where a path ends at 0, that logarithm must not: below every sigma that images of 8 bits can tell from none.
at::Tensor away_from_zero(const at::Tensor& condition);

// Such frequencies, (n), float32, of standard deviation `scale`. A network draws no random numbers when it is built, so
// they are the normal distribution's quantiles, as normally distributed as n numbers can be; the layer behind does not
// mind their order.
at::Tensor normal_quantiles(int64_t n, double scale);

}  // namespace sdpipe::nn
