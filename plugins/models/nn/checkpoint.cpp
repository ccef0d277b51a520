#include "plugins/models/nn/checkpoint.hpp"

#include <ATen/ops/alias.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

namespace sdpipe::nn {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The block as a function of its defined inputs.
struct Held : torch::CustomClassHolder {
  BlockFunction block;
  size_t n_inputs = 0;
};

constexpr const char* held_name = "held";

thread_local bool first_run = false;  // of a checkpointed block

struct FirstRun {
  const bool outer = std::exchange(first_run, true);
  ~FirstRun() { first_run = outer; }
};

class Recomputed : public torch::autograd::Function<Recomputed> {
 public:
  // `tensors`: the inputs, then the parameters, which are inputs to the graph although the block finds them by itself.
  static at::Tensor forward(AutogradContext* context, const c10::intrusive_ptr<Held>& held, at::TensorList tensors) {
    context->saved_data[held_name] = c10::IValue::make_capsule(held);
    context->save_for_backward(tensors.vec());
    const FirstRun now;
    return held->block(tensors.slice(0, held->n_inputs).vec());
  }

  static variable_list backward(AutogradContext* context, const variable_list& gy) {
    TORCH_CHECK(!at::GradMode::is_enabled(),
                "a block that runs again for its gradient has no second derivative: checkpoint = false holds what the "
                "block computes, which has one");
    const auto held = c10::static_intrusive_pointer_cast<Held>(context->saved_data[held_name].toCapsule());
    variable_list tensors = context->get_saved_variables();
    const c10::AutoGradMode recording(true);
    for (size_t i = 0; i < held->n_inputs; ++i)  // cut from the graph that they come from
      tensors[i] = tensors[i].detach().set_requires_grad(context->needs_input_grad(i));
    const at::Tensor y = held->block({tensors.begin(), tensors.begin() + static_cast<ptrdiff_t>(held->n_inputs)});
    variable_list gradients(1 + tensors.size()), wanted;  // the first: of `held`, which has none
    for (size_t i = 0; i < tensors.size(); ++i)
      if (context->needs_input_grad(i)) wanted.push_back(tensors[i]);
    variable_list found(wanted.size());
    if (y.requires_grad())
      found = torch::autograd::grad({y}, wanted, gy, /*retain_graph=*/false, /*create_graph=*/false,
                                    /*allow_unused=*/true);
    for (size_t i = 0, k = 0; i < tensors.size(); ++i)
      if (context->needs_input_grad(i)) gradients[1 + i] = found[k++];
    return gradients;
  }
};

// The same, each an edge of its own into the graph: what several uses in a block contribute to an input's gradient is
// added up before it meets other blocks' contributions. Recomputation adds in that order too, and so to the same bits.
std::vector<at::Tensor> gathered(std::vector<at::Tensor> inputs) {
  for (at::Tensor& input : inputs)
    if (input.defined() && input.requires_grad()) input = at::alias(input);
  return inputs;
}

}  // namespace

bool differentiated() { return c10::GradMode::is_enabled() || first_run; }

at::Tensor checkpointed(const FastPaths& fast, const torch::nn::Module& module, const std::vector<at::Tensor>& inputs,
                        BlockFunction block) {
  if (!c10::GradMode::is_enabled()) return block(inputs);
  if (!fast.checkpoint) return block(gathered(inputs));
  const auto held = c10::make_intrusive<Held>();
  variable_list tensors;
  std::vector<bool> is_defined;
  for (const at::Tensor& input : inputs) {
    is_defined.push_back(input.defined());
    if (input.defined()) tensors.push_back(input);
  }
  held->n_inputs = tensors.size();
  held->block = [block = std::move(block), is_defined](const std::vector<at::Tensor>& defined) {
    std::vector<at::Tensor> all(is_defined.size());
    for (size_t i = 0, k = 0; i < all.size(); ++i)
      if (is_defined[i]) all[i] = defined[k++];
    return block(all);
  };
  for (const at::Tensor& p : module.parameters()) tensors.push_back(p);
  return Recomputed::apply(held, at::TensorList(tensors));
}

}  // namespace sdpipe::nn
