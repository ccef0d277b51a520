#include "plugins/models/nn/fir.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/conv_transpose2d.h>
#include <ATen/ops/empty.h>

#include <numeric>

namespace sdpipe::nn {

namespace {

// gain * taps taps^T / sum, for each of x's channels: (channels, 1, n, n).
at::Tensor filter(const std::vector<double>& taps, double gain, const at::Tensor& x) {
  const int64_t n = static_cast<int64_t>(taps.size());
  const double sum = std::accumulate(taps.begin(), taps.end(), 0.0);
  at::Tensor kernel = at::empty({n, n}, at::kDouble);
  double* const k = kernel.data_ptr<double>();
  for (size_t i = 0; i < taps.size(); ++i)
    for (size_t j = 0; j < taps.size(); ++j) k[i * taps.size() + j] = gain * (taps[i] / sum) * (taps[j] / sum);
  return kernel.to(x.options()).expand({x.size(1), 1, n, n}).contiguous();
}

// `before` pixels of zeros at the top and left, `behind` at the bottom and right; fewer than none cut off.
at::Tensor padded(const at::Tensor& x, int64_t before, int64_t behind) {
  if (before == 0 && behind == 0) return x;
  return at::constant_pad_nd(x, {before, behind, before, behind});
}

// Convolution, as opposed to the correlation that conv2d is, with the padding that both sides share left to conv2d.
at::Tensor convolved(const at::Tensor& x, const at::Tensor& kernel, int64_t before, int64_t behind, int64_t stride) {
  const bool even = before == behind && before >= 0;
  const at::Tensor flipped = kernel.flip({2, 3});
  return at::conv2d(even ? x : padded(x, before, behind), flipped, {}, stride, even ? before : 0, 1, x.size(1));
}

// Shares a padding between both sides, the larger part in front; -1 shares into 0 and -1.
int64_t front(int64_t padding) { return (padding + 1) >> 1; }
int64_t rear(int64_t padding) { return padding >> 1; }

int64_t size(const std::vector<double>& taps) { return static_cast<int64_t>(taps.size()); }

}  // namespace

at::Tensor fir_halve(const at::Tensor& x, const std::vector<double>& taps) {
  const int64_t padding = size(taps) - 2;
  return convolved(x, filter(taps, 1, x), front(padding), rear(padding), 2);
}

at::Tensor fir_double(const at::Tensor& x, const std::vector<double>& taps) {
  const int64_t padding = size(taps) - 2, cut = size(taps) - 2 - front(padding), cut_behind = padding - cut;
  const bool even = cut == cut_behind;
  const at::Tensor whole =
      at::conv_transpose2d(x, filter(taps, 4, x), {}, 2, even ? cut : 0, /*output_padding=*/0, x.size(1));
  return even ? whole : padded(whole, -cut, -cut_behind);
}

at::Tensor fir_halve_conv(const at::Tensor& x, const std::vector<double>& taps, const at::Tensor& weight,
                          const at::Tensor& bias) {
  const int64_t padding = size(taps);
  return at::conv2d(convolved(x, filter(taps, 1, x), front(padding), rear(padding), 1), weight, bias, 2);
}

at::Tensor fir_double_conv(const at::Tensor& x, const std::vector<double>& taps, const at::Tensor& weight,
                           const at::Tensor& bias) {
  const int64_t padding = size(taps) - 4;
  const at::Tensor wide = at::conv_transpose2d(x, weight.flip({2, 3}).transpose(0, 1), {}, 2);
  const at::Tensor y = convolved(wide, filter(taps, 4, wide), front(padding) + 1, rear(padding) + 1, 1);
  return y + bias.view({1, -1, 1, 1});
}

}  // namespace sdpipe::nn
