#include "plugins/models/nn/checkpoint.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/nn/modules/normalization.h>

#include "tests/message_of.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

TEST_CASE("a block that runs again has its derivative, and refuses the second") {
  nn::Kernels kernels;
  kernels.checkpoint = true;
  const torch::nn::GroupNorm none(torch::nn::GroupNormOptions(1, 1));
  const at::Tensor x = at::full({1}, 2.0).requires_grad_();
  const at::Tensor y =
      nn::checkpointed(kernels, *none, {x}, [](const std::vector<at::Tensor>& in) { return in[0] * in[0] * in[0]; });
  CHECK(torch::autograd::grad({y}, {x}, {}, true)[0].item<double>() == 12);
  const std::string said =
      message_of<c10::Error>([&] { torch::autograd::grad({y}, {x}, {}, true, /*create_graph=*/true); });
  CHECK(
      said.find("a block that runs again for its gradient has no second derivative: checkpoint = false holds what the "
                "block computes, which has one") == 0);
}
