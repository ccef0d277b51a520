// nn::group_norm. tests/plugins/group_norm_test.cpp holds the CPU to more shapes and laws.
#include "plugins/models/nn/group_norm.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>

#include "tests/kernels/devices.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

using Tensors = std::vector<at::Tensor>;

struct Case {
  int64_t batch, channels, groups, height, width;
  bool channels_last, silu, modulated;
  int64_t group_size() const { return channels / groups * height * width; }
};

// Around the sizes of a stretch of channels (32) and of a block of threads (256).
std::vector<Case> cases() {
  const int64_t shapes[][5] = {
      {2, 8, 8, 6, 6}, {3, 6, 2, 1, 1}, {1, 33, 3, 17, 23}, {2, 64, 32, 16, 16}, {1, 40, 1, 9, 7}};
  std::vector<Case> all;
  for (const auto& s : shapes)
    for (int bits = 0; bits < 8; ++bits)
      all.push_back({s[0], s[1], s[2], s[3], s[4], (bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0});
  return all;
}

// x, whose mean is far from 0, weight, bias and, where modulated, offset, scale and shift.
Tensors inputs(const Case& c, const at::TensorOptions& options) {
  Tensors all = {at::randn({c.batch, c.channels, c.height, c.width}) * 2 + 5, at::randn({c.channels}) + 1,
                 at::randn({c.channels})};
  for (int i = 0; c.modulated && i < 3; ++i) all.push_back(at::randn({c.batch, c.channels}));
  for (at::Tensor& t : all) t = t.to(options);
  if (c.channels_last) all[0] = all[0].contiguous(at::MemoryFormat::ChannelsLast);
  return all;
}

// y, and the gradients in all inputs of its product with `weights`.
Tensors results(const Case& c, Tensors in, const at::Tensor& weights, bool fused) {
  for (at::Tensor& t : in) t = t.detach().requires_grad_();
  torch::nn::GroupNorm norm(torch::nn::GroupNormOptions(c.groups, c.channels));
  norm->weight = in[1];
  norm->bias = in[2];
  nn::FastPaths fast;
  fast.fused_norm = fused;
  const nn::Modulation m = c.modulated ? nn::Modulation{in[3], in[4], in[5]} : nn::Modulation{};
  const at::Tensor y = nn::group_norm(fast, norm, in[0], m, c.silu);
  Tensors all = torch::autograd::grad({y}, in, {weights});
  all.insert(all.begin(), y.detach());
  return all;
}

double norm_of(const at::Tensor& t) { return t.norm().item<double>(); }

void require_close(const Case& c, at::Device device, at::ScalarType dtype, double bound) {
  const Tensors in = inputs(c, on(device, dtype));
  const at::Tensor weights = at::randn(in[0].sizes()).to(on(device, dtype));
  const Tensors found = results(c, in, weights, true);
  Tensors exact;
  for (const at::Tensor& t : in) exact.push_back(on_cpu(t));
  const Tensors wanted = results(c, exact, on_cpu(weights), false);
  // Once mean and slope are taken away, a group of three values leaves little of the gradient, but all its rounding.
  if (c.group_size() < 8) bound *= 10;
  for (size_t i = 0; i < wanted.size(); ++i) {
    CAPTURE(device.str(), dtype, c.batch, c.channels, c.groups, c.height, c.width, c.channels_last, c.silu, c.modulated,
            i);
    CHECK(found[i].scalar_type() == dtype);
    // The gradient in the offset is the sum of that in x, which vanishes where a group is one channel.
    const double of_summands = i == 4 ? norm_of(wanted[1]) : 0;
    CHECK(norm_of(on_cpu(found[i]) - wanted[i]) <= bound * std::max(norm_of(wanted[i]) + 1e-3, of_summands));
  }
}

}  // namespace

TEST_CASE("group normalisation gives the values and gradients of double on every device, in float32 and bfloat16") {
  for (const at::Device device : devices()) {
    for (const Case& c : cases()) {
      require_close(c, device, at::kFloat, 3e-6);
      require_close(c, device, at::kBFloat16, 8e-3);
    }
  }
}

TEST_CASE("group normalisation gives the same bits every time on every device") {
  for (const at::Device device : devices()) {
    for (const Case& c : cases()) {
      const Tensors in = inputs(c, on(device, at::kFloat));
      const Tensors once = results(c, in, in[0], true), again = results(c, in, in[0], true);
      for (size_t i = 0; i < once.size(); ++i) CHECK(once[i].equal(again[i]));
    }
  }
}
