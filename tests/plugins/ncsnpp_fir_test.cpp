#include "plugins/models/nn/fir.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/zeros.h>

#include <numeric>

#include "tests/plugins/support.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe::nn;
using namespace sdpipe::testing;

namespace {

const std::vector<std::vector<double>> filters = {{1, 3, 3, 1}, {1, 1}, {1, 2, 5}, {1, 4, 6, 3, 2}, {2, 1, 0, 4, 1, 1}};

// upfirdn along one axis, from its definition: zeros behind every pixel, zeros at both ends, convolution with the taps
// where they fit, every `down`-th value.
struct Steps {
  int64_t up, before, behind, down;
};
std::vector<double> filtered(const std::vector<double>& x, const std::vector<double>& taps, double gain, Steps steps) {
  std::vector<double> padded(static_cast<size_t>(steps.before), 0.0);
  for (const double pixel : x) {
    padded.push_back(pixel);
    padded.resize(padded.size() + static_cast<size_t>(steps.up - 1), 0.0);
  }
  padded.resize(padded.size() + static_cast<size_t>(steps.behind), 0.0);
  const double sum = std::accumulate(taps.begin(), taps.end(), 0.0);
  std::vector<double> out;
  for (size_t i = 0; i + taps.size() <= padded.size(); i += static_cast<size_t>(steps.down)) {
    double value = 0;
    for (size_t m = 0; m < taps.size(); ++m) value += gain * taps[m] / sum * padded[i + taps.size() - 1 - m];
    out.push_back(value);
  }
  return out;
}

// The same along height and width of (batch, channel, height, width).
at::Tensor filtered(const at::Tensor& x, const std::vector<double>& taps, double gain, Steps steps) {
  const auto along_last = [&](const at::Tensor& t) {
    const at::Tensor rows = t.reshape({-1, t.size(3)});
    std::vector<double> all;
    for (int64_t r = 0; r < rows.size(0); ++r) {
      const std::vector<double> row = filtered(numbers(rows[r]), taps, gain, steps);
      all.insert(all.end(), row.begin(), row.end());
    }
    const int64_t length = static_cast<int64_t>(all.size()) / rows.size(0);
    return tensor({t.size(0), t.size(1), t.size(2), length}, all);
  };
  return along_last(along_last(x).transpose(2, 3).contiguous()).transpose(2, 3).contiguous();
}

int64_t length(const std::vector<double>& taps) { return static_cast<int64_t>(taps.size()); }

// StyleGAN2's paddings: p zeros shared between both ends, the larger part in front.
Steps halving(const std::vector<double>& taps) {
  const int64_t p = length(taps) - 2;
  return {1, (p + 1) / 2, p / 2, 2};
}
Steps doubling(const std::vector<double>& taps) {
  const int64_t p = length(taps) - 2;
  return {2, (p + 1) / 2 + 1, p / 2, 1};
}

}  // namespace

TEST_CASE("halving and doubling by a filter are what upfirdn defines, for any number of taps") {
  const at::Tensor x = noise({2, 3, 6, 4}, 1);
  for (const auto& taps : filters) {
    INFO(taps.size() << " taps");
    const at::Tensor half = fir_halve(x, taps), twice = fir_double(x, taps);
    REQUIRE(half.sizes() == at::IntArrayRef({2, 3, 3, 2}));
    REQUIRE(twice.sizes() == at::IntArrayRef({2, 3, 12, 8}));
    CHECK(largest_difference(half, filtered(x, taps, 1, halving(taps))) < 1e-14);
    CHECK(largest_difference(twice, filtered(x, taps, 2, doubling(taps))) < 1e-14);
  }
}

TEST_CASE("the filter 1 3 3 1 mixes neighbours three to one when doubling, and keeps a constant away from borders") {
  const at::Tensor y = fir_double(tensor({1, 1, 1, 4}, {8, 16, 32, 64}), {1, 3, 3, 1});
  // Height 1 becomes 2, each row mixed with a border of zeros: three quarters.
  const std::vector<double> row = {6, 10, 14, 20, 28, 40, 56, 48};
  for (int64_t i = 0; i < 8; ++i) CHECK(y[0][0][0][i].item<double>() == Approx(0.75 * row[static_cast<size_t>(i)]));
  const at::Tensor flat = fir_halve(at::zeros({1, 1, 8, 8}, at::kDouble) + 5, {1, 3, 3, 1});
  CHECK(flat[0][0][1][2].item<double>() == Approx(5));
}

TEST_CASE("a filter joined with a convolution cuts nothing off between the two") {
  const at::Tensor x = noise({2, 3, 6, 4}, 1), weight = noise({5, 3, 3, 3}, 2), bias = noise({5}, 3);
  for (const auto& taps : filters) {
    INFO(taps.size() << " taps");
    const Steps half = halving(taps), twice = doubling(taps);
    const at::Tensor halved = filtered(x, taps, 1, {1, half.before + 1, half.behind + 1, 1});
    CHECK(largest_difference(fir_halve_conv(x, taps, weight, bias), at::conv2d(halved, weight, bias, 2)) < 1e-13);
    const at::Tensor doubled = filtered(x, taps, 2, {2, twice.before + 1, twice.behind + 1, 1});
    CHECK(largest_difference(fir_double_conv(x, taps, weight, bias), at::conv2d(doubled, weight, bias)) < 1e-13);
  }
}
