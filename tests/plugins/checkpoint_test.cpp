#include "plugins/models/nn/checkpoint.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/nn/modules/normalization.h>

#include "tests/message_of.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

TEST_CASE("a block that runs again has its derivative, and refuses the second") {
  nn::FastPaths fast;
  fast.checkpoint = true;
  const torch::nn::GroupNorm none(torch::nn::GroupNormOptions(1, 1));
  const at::Tensor x = at::full({1}, 2.0).requires_grad_();
  const at::Tensor y =
      nn::checkpointed(fast, *none, {x}, [](const std::vector<at::Tensor>& in) { return in[0] * in[0] * in[0]; });
  CHECK(torch::autograd::grad({y}, {x}, {}, true)[0].item<double>() == 12);
  const std::string said =
      message_of<c10::Error>([&] { torch::autograd::grad({y}, {x}, {}, true, /*create_graph=*/true); });
  CHECK(
      said.find("a block that runs again for its gradient has no second derivative: checkpoint = false holds what the "
                "block computes, which has one") == 0);
}

TEST_CASE("both runs of a block know that a gradient may be asked for, and without gradients none does") {
  nn::FastPaths fast;
  fast.checkpoint = true;
  const torch::nn::GroupNorm none(torch::nn::GroupNormOptions(1, 1));
  const at::Tensor x = at::full({1}, 2.0).requires_grad_();
  std::vector<bool> told;
  const auto block = [&](const std::vector<at::Tensor>& in) {
    told.push_back(nn::differentiated());
    return in[0] * 2;
  };
  torch::autograd::grad({nn::checkpointed(fast, *none, {x}, block)}, {x});
  const c10::NoGradGuard no_gradients;
  nn::checkpointed(fast, *none, {x}, block);
  CHECK(told == std::vector<bool>{true, true, false});
}
