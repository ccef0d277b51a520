// Activation checkpointing (Chen et al., "Training deep nets with sublinear memory cost", arXiv 1604.06174): of a block
// nothing but its inputs is held until the gradient is asked for; then the block runs again, this time recorded. Memory
// falls to the inputs of all blocks and the insides of one; the forward pass is paid twice.
#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>

#include <functional>
#include <vector>

#include "plugins/models/nn/fast_paths.hpp"

namespace sdpipe::nn {

using BlockFunction = std::function<at::Tensor(const std::vector<at::Tensor>& inputs)>;

// block(inputs), where `block` is a pure function of them and of `module`'s parameters. Inputs may be undefined. With
// fast.checkpoint `block` is called again by the backward pass, and what it refers to must live until then: the
// module and sdp::Pass do. Gradients equal those of block(inputs) bit for bit, as dropout repeats its draws. A second
// derivative is refused.
at::Tensor checkpointed(const FastPaths& fast, const torch::nn::Module& module, const std::vector<at::Tensor>& inputs,
                        BlockFunction block);

// May a gradient be asked for of what is computed now? LibTorch's grad mode knows nothing of the first run of a block
// that runs again. What chooses by the grad mode asks here instead, or the two runs would differ in bits.
bool differentiated();

}  // namespace sdpipe::nn
