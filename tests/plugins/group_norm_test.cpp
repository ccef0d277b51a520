#include "plugins/models/nn/group_norm.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tests/plugins/support.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

using Tensors = std::vector<at::Tensor>;

struct Case {
  int64_t batch, channels, groups, height, width;
  bool channels_last, silu, modulated;

  int64_t group_size() const { return channels / groups * height * width; }
  std::string text() const {
    const auto n = [](int64_t i) { return std::to_string(i) + " "; };
    return n(batch) + n(channels) + n(groups) + n(height) + n(width) + (channels_last ? "last " : "first ") +
           (silu ? "silu " : "") + (modulated ? "modulated" : "");
  }
};

// 1 channel a group, 1 pixel, fewer channels than a vector holds, channels that do not fill vectors, several pieces of
// a sample (of 65536 numbers each).
std::vector<Case> cases() {
  const std::vector<std::vector<int64_t>> shapes = {{2, 8, 8, 6, 6},    {3, 6, 2, 1, 1},     {1, 24, 4, 17, 23},
                                                    {2, 160, 32, 5, 4}, {2, 64, 32, 16, 16}, {1, 32, 8, 72, 80},
                                                    {2, 12, 1, 9, 9},   {1, 1, 1, 3, 5}};
  std::vector<Case> all;
  for (const auto& s : shapes)
    for (int bits = 0; bits < 8; ++bits)
      all.push_back({s[0], s[1], s[2], s[3], s[4], (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0});
  return all;
}

// x, weight, bias and, where modulated, offset, scale and shift; x's mean is far from 0.
Tensors inputs(const Case& c, at::ScalarType dtype) {
  Tensors all = {noise({c.batch, c.channels, c.height, c.width}, 1) * 2 + 5, noise({c.channels}, 2) + 1,
                 noise({c.channels}, 3)};
  for (uint64_t i = 0; c.modulated && i < 3; ++i) all.push_back(noise({c.batch, c.channels}, 4 + i));
  for (at::Tensor& t : all) t = t.to(dtype);
  if (c.channels_last) all[0] = all[0].contiguous(at::MemoryFormat::ChannelsLast);
  return all;
}

// y, and the gradients in all inputs of its product with noise.
Tensors results(const Case& c, Tensors in, bool fused) {
  for (at::Tensor& t : in) t = t.detach().requires_grad_();
  torch::nn::GroupNorm norm(torch::nn::GroupNormOptions(c.groups, c.channels));
  norm->weight = in[1];
  norm->bias = in[2];
  nn::FastPaths fast;
  fast.fused_norm = fused;
  const nn::Modulation m = c.modulated ? nn::Modulation{in[3], in[4], in[5]} : nn::Modulation{};
  const at::Tensor y = nn::group_norm(fast, norm, in[0], m, c.silu);
  Tensors all = torch::autograd::grad({y}, in, {noise(y.sizes().vec(), 9).to(y.scalar_type())});
  all.insert(all.begin(), y.detach());
  return all;
}

// As double computes with the same numbers.
Tensors expected(const Case& c, Tensors in) {
  for (at::Tensor& t : in) t = t.to(at::kDouble);
  return results(c, std::move(in), false);
}

double norm_of(const at::Tensor& t) { return t.to(at::kDouble).norm().item<double>(); }

double relative(const at::Tensor& found, const at::Tensor& expected) {
  return norm_of(found.to(at::kDouble) - expected) / (norm_of(expected) + 1e-3);
}

void require_close(const Case& c, at::ScalarType dtype, double bound) {
  const Tensors in = inputs(c, dtype), found = results(c, in, true), wanted = expected(c, in);
  // Once mean and slope are taken away, little is left of the gradient in a group of three values, but all its
  // rounding.
  if (c.group_size() < 8) bound *= 10;
  for (size_t i = 0; i < wanted.size(); ++i) {
    INFO(c.text() << ", result " << i << " of y, x, weight, bias, offset, scale, shift");
    CHECK(found[i].scalar_type() == dtype);
    // The gradient in the offset is the sum of that in x, which vanishes where a group is one channel.
    const double of_summands = i == 4 ? norm_of(wanted[1]) : 0;
    CHECK(norm_of(found[i].to(at::kDouble) - wanted[i]) <= bound * std::max(norm_of(wanted[i]) + 1e-3, of_summands));
  }
}

}  // namespace

TEST_CASE("fused group normalisation in float32 gives the values and gradients of double") {
  for (const Case& c : cases()) require_close(c, at::kFloat, 3e-6);
}

TEST_CASE("fused group normalisation in bfloat16 errs by its last digits alone") {
  for (const Case& c : cases()) require_close(c, at::kBFloat16, 8e-3);
}

TEST_CASE("group normalisation in float64 is LibTorch's own, fused or not") {
  const Case c{2, 12, 3, 5, 7, true, true, true};
  const Tensors in = inputs(c, at::kDouble), fused = results(c, in, true), plain = results(c, in, false);
  for (size_t i = 0; i < plain.size(); ++i) CHECK(fused[i].equal(plain[i]));
}

TEST_CASE("fused group normalisation keeps the arrangement of memory") {
  for (const bool last : {false, true}) {
    const Case c{2, 8, 4, 6, 5, last, true, false};
    const auto format = last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
    const Tensors found = results(c, inputs(c, at::kFloat), true);
    CHECK(found[0].is_contiguous(format));
    CHECK(found[1].is_contiguous(format));
  }
}

TEST_CASE("fused group normalisation of a view with gaps is that of its copy") {
  const Case c{2, 8, 4, 6, 5, false, true, false};
  Tensors in = inputs({2, 8, 4, 6, 10, false, true, false}, at::kFloat), copied = in;
  in[0] = in[0].slice(3, 0, 10, 2);
  copied[0] = in[0].contiguous();
  const Tensors found = results(c, in, true), wanted = results(c, copied, true);
  for (size_t i = 0; i < wanted.size(); ++i) CHECK(relative(found[i], wanted[i].to(at::kDouble)) <= 1e-6);
}

TEST_CASE("fused group normalisation does not depend on the number of threads") {
  const int threads = at::get_num_threads();
  for (const Case& c : {Case{1, 32, 8, 72, 80, true, true, true}, Case{3, 32, 8, 20, 20, false, true, true}}) {
    const Tensors in = inputs(c, at::kFloat);
    at::set_num_threads(1);
    const Tensors one = results(c, in, true);
    at::set_num_threads(2);
    const Tensors two = results(c, in, true);
    at::set_num_threads(threads);
    for (size_t i = 0; i < one.size(); ++i) CHECK(one[i].equal(two[i]));
  }
}

TEST_CASE("fused group normalisation of a constant far from zero is its bias") {
  const Case c{1, 8, 2, 16, 16, true, false, false};
  Tensors in = inputs(c, at::kFloat);
  in[0] = at::zeros_like(in[0]) + 1e4;
  const at::Tensor y = results(c, in, true)[0];
  CHECK(largest_difference(y, in[2].view({1, -1, 1, 1}).expand_as(y)) <= 1e-6);
}

// With a weight of 0 the SiLU's argument is the bias.
TEST_CASE("the fused SiLU and its derivative are right for every finite argument") {
  std::vector<double> arguments;
  for (const double size : {1., 20., 80., 88., 100., 1e3, 23258306., 3.78e7, 9.12e7, 1e9, 1e16, 3e38})
    for (const double v : {size, -size}) arguments.push_back(static_cast<float>(v));
  for (const bool channels_last : {true, false}) {
    const Case c{1, 24, 4, 3, 5, channels_last, true, false};
    Tensors in = inputs(c, at::kFloat);
    in[1].zero_();
    for (size_t i = 0; i < arguments.size(); ++i) in[2][static_cast<int64_t>(i)] = arguments[i];
    const Tensors found = results(c, in, true);
    const at::Tensor of_y = noise(in[0].sizes().vec(), 9).sum(at::IntArrayRef{0, 2, 3});
    for (size_t i = 0; i < arguments.size(); ++i) {
      const double v = arguments[i], sigmoid = 1 / (1 + std::exp(-v)), rest = 1 / (1 + std::exp(v));
      const int64_t channel = static_cast<int64_t>(i);
      CAPTURE(channels_last, v);
      CHECK(found[0][0][channel][2][4].item<double>() == Approx(v * sigmoid).epsilon(3e-6).margin(1e-35));
      CHECK(found[3][channel].item<double>() ==
            Approx(of_y[channel].item<double>() * sigmoid * (1 + v * rest)).epsilon(1e-5).margin(1e-5));
    }
  }
}

TEST_CASE("the fused SiLU and its derivative at the infinities are LibTorch's") {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  for (const bool channels_last : {true, false}) {
    const Case c{1, 2, 2, 3, 5, channels_last, true, false};
    Tensors in = inputs(c, at::kFloat);
    in[1].zero_();
    in[2] = tensor({2}, {infinity, -infinity}).to(at::kFloat);
    const Tensors found = results(c, in, true), wanted = results(c, in, false);
    CHECK(at::allclose(found[0], wanted[0], 0, 0, /*equal_nan=*/true));
    CHECK(at::allclose(found[3], wanted[3], 0, 0, /*equal_nan=*/true));
  }
}

TEST_CASE("moments do not depend on how unlike the others a first number is") {
  for (const bool channels_last : {true, false}) {
    const Case c{1, 16, 16, 32, 32, channels_last, false, false};
    Tensors in = inputs(c, at::kFloat);
    in[0].slice(2, 0, 1).slice(3, 0, 1).add_(3000);
    CHECK(relative(results(c, in, true)[0], expected(c, in)[0]) <= 1e-6);
  }
}

TEST_CASE("fused group normalisation passes on what is not a number to its group alone") {
  for (const bool channels_last : {true, false}) {
    const Case c{1, 8, 2, 4, 4, channels_last, true, false};
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      Tensors in = inputs(c, dtype);
      in[0][0][5][2][3] = std::numeric_limits<float>::quiet_NaN();
      const at::Tensor bad = results(c, in, true)[0].isnan();
      CHECK(bad.slice(1, 4, 8).all().item<bool>());
      CHECK_FALSE(bad.slice(1, 0, 4).any().item<bool>());
    }
  }
}

TEST_CASE("fused group normalisation refuses what does not fit together") {
  const auto refusal = [](int64_t channels, int64_t groups, const nn::Modulation& m) {
    torch::nn::GroupNorm norm(torch::nn::GroupNormOptions(4, 8));
    norm->options.num_groups(groups);
    const std::string text = failure([&] { nn::group_norm({}, norm, at::zeros({2, channels, 4, 4}), m, true); });
    return text.substr(0, text.find('\n'));
  };
  CHECK(refusal(8, 4, {at::zeros({2, 8}), {}, {}}) == "no failure");
  CHECK(refusal(6, 4, {}) == "group normalisation of 8 channels got x with 6");
  CHECK(refusal(8, 3, {}) == "group normalisation: 8 channels do not make 3 whole groups");
  CHECK(refusal(8, 4, {at::zeros({1, 8}), {}, {}}) ==
        "group normalisation: the modulation of x [2, 8, 4, 4] must be (batch, channel), one for each, and is [1, 8]");
  CHECK(refusal(8, 4, {{}, at::zeros({2, 4}), at::zeros({2, 8})}) ==
        "group normalisation: the modulation of x [2, 8, 4, 4] must be (batch, channel), one for each, and is [2, 4]");
}

TEST_CASE("fused group normalisation refuses a second derivative") {
  const Case c{1, 8, 2, 4, 4, true, true, false};
  Tensors in = inputs(c, at::kFloat);
  for (at::Tensor& t : in) t.requires_grad_();
  torch::nn::GroupNorm norm(torch::nn::GroupNormOptions(c.groups, c.channels));
  const at::Tensor y = nn::group_norm({}, norm, in[0], true);
  CHECK(failure([&] { torch::autograd::grad({y.sum()}, {in[0]}, {}, true, true); })
            .find("the fused group normalisation has no second derivative: fused_norm = false takes LibTorch's, which "
                  "has one") != std::string::npos);
}
