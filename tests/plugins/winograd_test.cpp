#include "plugins/models/nn/winograd.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>

#include <string>
#include <vector>

#include "core/base/files.hpp"
#include "plugins/models/nn/conv3x3.hpp"
#include "tests/plugins/support.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

using Tensors = std::vector<at::Tensor>;

struct Case {
  int64_t batch, in, out, height, width;
  at::MemoryFormat format;

  std::string text() const {
    const auto n = [](int64_t i) { return std::to_string(i) + " "; };
    return n(batch) + n(in) + n(out) + n(height) + n(width) +
           (format == at::MemoryFormat::ChannelsLast ? "channels last" : "channels first");
  }
};

// Fewer channels than a vector holds, channels that fill no vector or more than one chunk of 64; tiles cut by both
// borders, one tile, several blocks of 60 tiles.
std::vector<Case> cases() {
  const std::vector<std::vector<int64_t>> shapes = {{1, 3, 32, 17, 23}, {2, 32, 3, 17, 23}, {3, 33, 47, 5, 7},
                                                    {8, 33, 47, 4, 4},  {1, 1, 1, 1, 1},    {2, 70, 130, 9, 6},
                                                    {1, 16, 24, 64, 64}};
  std::vector<Case> all;
  for (const auto& s : shapes)
    for (const auto format : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast})
      all.push_back({s[0], s[1], s[2], s[3], s[4], format});
  return all;
}

// x, weight, bias, and the gradient in y.
Tensors inputs(const Case& c) {
  return {noise({c.batch, c.in, c.height, c.width}, 1, at::kFloat).contiguous(c.format),
          noise({c.out, c.in, 3, 3}, 2, at::kFloat), noise({c.out}, 3, at::kFloat),
          noise({c.batch, c.out, c.height, c.width}, 4, at::kFloat).contiguous(c.format)};
}

Tensors in_dtype(at::ScalarType dtype, Tensors tensors) {
  for (at::Tensor& t : tensors) t = t.to(dtype);
  return tensors;
}

// at::conv2d and its gradients in x, weight and bias, in float64.
Tensors expected(const Tensors& in) {
  const Tensors t = in_dtype(at::kDouble, in);
  for (const at::Tensor& i : t) i.requires_grad_();
  const at::Tensor y = at::conv2d(t[0], t[1], t[2], 1, 1);
  const Tensors gradients = torch::autograd::grad({y}, {t[0], t[1], t[2]}, {t[3]});
  return {y.detach(), gradients[0], gradients[1], gradients[2]};
}

double error(const at::Tensor& a, const at::Tensor& exact) {
  REQUIRE(a.sizes() == exact.sizes());
  return largest_difference(a.to(at::kDouble), exact) / exact.abs().max().item<double>();
}

torch::nn::Conv2d layer(const Tensors& in, at::ScalarType dtype = at::kFloat) {
  torch::nn::Conv2d conv(torch::nn::Conv2dOptions(in[1].size(1), in[1].size(0), 3).padding(1));
  conv->weight.set_data(in[1].to(dtype));
  conv->bias.set_data(in[2].to(dtype));
  return conv;
}

// As expected(), by conv3x3 in the inputs' dtype.
Tensors of_layer(const nn::FastPaths& fast, const Tensors& in, at::ScalarType dtype = at::kFloat) {
  const torch::nn::Conv2d conv = layer(in, dtype);
  const at::Tensor x = in[0].to(dtype).detach().requires_grad_();
  const at::Tensor y = nn::conv3x3(fast, conv, x);
  const Tensors gradients = torch::autograd::grad({y}, {x, conv->weight, conv->bias}, {in[3].to(dtype)});
  return {y.detach(), gradients[0], gradients[1], gradients[2]};
}

bool equal(const Tensors& a, const Tensors& b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (!a[i].equal(b[i])) return false;
  return true;
}

const nn::FastPaths plain{.winograd = false};
const Case large{2, 64, 48, 22, 19, at::MemoryFormat::ChannelsLast};  // taken by Winograd's form

}  // namespace

TEST_CASE("Winograd's convolution and its gradients are those of conv2d in float64, to 2e-5") {
  for (const Case& c : cases()) {
    INFO(c.text());
    const Tensors in = inputs(c), exact = expected(in);
    const at::Tensor y = nn::winograd::convolve(in[0], in[1], in[2]);
    CHECK(error(y, exact[0]) < 2e-5);
    CHECK(y.is_contiguous(at::MemoryFormat::ChannelsLast));
    CHECK(error(nn::winograd::convolve(in[0], in[1], {}) + in[2].view({1, -1, 1, 1}), exact[0]) < 2e-5);
    CHECK(error(nn::winograd::input_gradient(in[3], in[1]), exact[1]) < 2e-5);
    CHECK(error(nn::winograd::weight_gradient(in[3], in[0]), exact[2]) < 2e-5);
  }
}

TEST_CASE("in bfloat16 Winograd's form gives what it gives in float32 of the same numbers, rounded") {
  for (const Case& c : cases()) {
    INFO(c.text());
    const Tensors in = in_dtype(at::kBFloat16, inputs(c)), wide = in_dtype(at::kFloat, in);
    const auto rounded = [](const at::Tensor& t) { return t.to(at::kBFloat16); };
    const at::Tensor y = nn::winograd::convolve(in[0], in[1], in[2]);
    CHECK(y.equal(rounded(nn::winograd::convolve(wide[0], wide[1], wide[2]))));
    CHECK(y.is_contiguous(at::MemoryFormat::ChannelsLast));
    CHECK(nn::winograd::input_gradient(in[3], in[1]).equal(rounded(nn::winograd::input_gradient(wide[3], wide[1]))));
    CHECK(nn::winograd::weight_gradient(in[3], in[0]).equal(rounded(nn::winograd::weight_gradient(wide[3], wide[0]))));
  }
}

TEST_CASE("a layer in bfloat16 and its gradients are those of conv2d in float64, to the rounding of the result") {
  for (const Case& c : {large, Case{4, 64, 64, 32, 32, large.format}, Case{4, 128, 128, 8, 8, large.format}}) {
    INFO(c.text());
    const Tensors in = in_dtype(at::kFloat, in_dtype(at::kBFloat16, inputs(c)));
    const Tensors exact = expected(in), found = of_layer({}, in, at::kBFloat16);
    for (size_t i = 0; i < exact.size(); ++i) {
      CHECK(found[i].scalar_type() == at::kBFloat16);
      CHECK(error(found[i], exact[i]) < 4e-3);  // 2^-8
    }
  }
}

// conv3x3.cpp leaves those with AMX, and those that it does not know, to LibTorch.
bool takes_bfloat16_here() {
#if defined(__x86_64__)
  return read_file("/proc/cpuinfo").find("amx_bf16") == std::string::npos;
#else
  return false;
#endif
}

TEST_CASE(
    "a layer of many channels and pixels takes Winograd's form in bfloat16, where the CPU is not faster without") {
  const Tensors in = in_dtype(at::kBFloat16, inputs({4, 64, 64, 32, 32, large.format}));
  const at::Tensor y = of_layer({}, in, at::kBFloat16)[0], fast = nn::winograd::convolve(in[0], in[1], in[2]);
  CHECK(y.equal(takes_bfloat16_here() ? fast : at::conv2d(in[0], in[1], in[2], 1, 1)));
  CHECK(!fast.equal(at::conv2d(in[0], in[1], in[2], 1, 1)));
}

TEST_CASE("Winograd's form refuses tensors that it does not read") {
  const Tensors in = inputs(large);
  const at::Tensor wide = in[0].to(at::kDouble), narrow = in[3].to(at::kBFloat16);
  CHECK(failure([&] {
          nn::winograd::convolve(wide, in[1], in[2]);
        }).starts_with("Winograd's form takes float32 and bfloat16, not Double\n"));
  CHECK(failure([&] {
          nn::winograd::weight_gradient(narrow, in[0]);
        }).starts_with("x is of Float, its gradient of BFloat16\n"));
}

TEST_CASE("a layer of many channels takes Winograd's form, forward and for all gradients") {
  const Tensors in = inputs(large), exact = expected(in), fast = of_layer({}, in), slow = of_layer(plain, in);
  for (size_t i = 0; i < exact.size(); ++i) CHECK(error(fast[i], exact[i]) < 2e-5);
  CHECK(!equal({fast[0]}, {slow[0]}));
  CHECK(!equal({fast[1]}, {slow[1]}));
  CHECK(!equal({fast[2]}, {slow[2]}));
  const at::NoGradGuard no_gradients;
  CHECK(equal({nn::conv3x3({}, layer(in), in[0])}, {fast[0]}));
}

TEST_CASE("a layer takes conv2d in float64, where it is told to, and where there are few channels") {
  const auto by_conv2d = [](const Tensors& in, at::ScalarType dtype) {
    return at::conv2d(in[0].to(dtype), in[1].to(dtype), in[2].to(dtype), 1, 1);
  };
  const Tensors in = inputs(large);
  CHECK(of_layer({}, in, at::kDouble)[0].equal(by_conv2d(in, at::kDouble)));
  CHECK(of_layer(plain, in)[0].equal(by_conv2d(in, at::kFloat)));
  for (const Case& c : {Case{8, 3, 64, 32, 32, large.format}, Case{8, 64, 3, 32, 32, large.format}}) {
    const Tensors few = inputs(c);
    CHECK(of_layer({}, few)[0].equal(by_conv2d(few, at::kFloat)));
  }
}

TEST_CASE("a convolution of another stride or padding is none of Winograd's") {
  const Tensors in = inputs(large);
  torch::nn::Conv2d strided(torch::nn::Conv2dOptions(64, 48, 3).padding(1).stride(2));
  torch::nn::Conv2d unpadded(torch::nn::Conv2dOptions(64, 48, 3));
  CHECK(nn::conv3x3({}, strided, in[0]).equal(strided(in[0])));
  CHECK(nn::conv3x3({}, unpadded, in[0]).equal(unpadded(in[0])));
}

TEST_CASE("Winograd's form gives equal bits for one thread and two") {
  const int threads = at::get_num_threads();
  const Tensors in = inputs({5, 70, 70, 32, 30, at::MemoryFormat::ChannelsLast});
  at::set_num_threads(1);
  const Tensors one = of_layer({}, in);
  at::set_num_threads(2);
  const Tensors two = of_layer({}, in);
  at::set_num_threads(threads);
  CHECK(equal(one, two));
}

// 4 and 25 tiles an image, and few filters and many: on both sides of what the choice of Winograd's form turns on.
TEST_CASE("a layer gives a sample and its gradient the same bits however the batch is cut") {
  for (const Case& c : {Case{9, 64, 64, 8, 8, large.format}, Case{9, 160, 160, 8, 8, large.format},
                        Case{5, 70, 70, 20, 18, large.format}, Case{4, 16, 32, 4, 4, large.format}}) {
    const Tensors in = inputs(c), whole = of_layer({}, in);
    for (const int64_t cut : {int64_t{1}, c.batch / 2}) {
      INFO(c.text() << " cut at " << cut);
      for (const auto& [first, n] : {std::pair(int64_t{0}, cut), std::pair(cut, c.batch - cut)}) {
        const Tensors part = of_layer({}, {in[0].narrow(0, first, n), in[1], in[2], in[3].narrow(0, first, n)});
        CHECK(part[0].equal(whole[0].narrow(0, first, n)));
        CHECK(part[1].equal(whole[1].narrow(0, first, n)));
      }
    }
  }
}

TEST_CASE("the filters' gradient of very many tiles is as exact as that of few") {
  const Tensors in = inputs({1, 1, 1, 1024, 1024, large.format});  // 65536 tiles
  CHECK(error(nn::winograd::weight_gradient(in[3], in[0]), expected(in)[2]) < 5e-6);
}

TEST_CASE("a batch of no sample has no output, and leaves the weights alone") {
  const Tensors none = of_layer({}, inputs({0, 64, 48, 22, 19, large.format}));
  CHECK(none[0].sizes() == at::IntArrayRef({0, 48, 22, 19}));
  CHECK(none[1].sizes() == at::IntArrayRef({0, 64, 22, 19}));
  CHECK(none[2].equal(at::zeros({48, 64, 3, 3})));
  CHECK(none[3].equal(at::zeros({48})));
}

TEST_CASE("Winograd's form refuses an image with other channels than the layer's") {
  const Tensors in = inputs(large);
  CHECK(failure([&] {
          nn::conv3x3({}, layer(in), in[0].narrow(1, 0, 60));
        }).starts_with("a 3 x 3 convolution of 64 channels got x with 60\n"));
}

TEST_CASE("a second derivative of Winograd's form is refused") {
  const Tensors in = inputs(large);
  const torch::nn::Conv2d conv = layer(in);
  const at::Tensor x = in[0].clone().requires_grad_();
  const at::Tensor y = nn::conv3x3({}, conv, x);
  CHECK(failure([&] { torch::autograd::grad({y}, {x}, {in[3]}, {}, /*create_graph=*/true); })
            .find("the Winograd convolution has no second derivative: winograd = false takes LibTorch's, which has "
                  "one") != std::string::npos);
}
