// torchscript: a network that torch.jit.trace or torch.jit.script wrote to a file, used and trained as it is.
//
//   y = forward(x, condition), or forward(x);   x0_hat = x + y, or what `output` makes of y (nn/meaning.hpp)
//
// x and y are (batch, channel, height, width), condition is (batch), in x's dtype: condition_scale times t, sigma or
// level. Parameters that require a gradient are trained, from their values in the file on; the others, and buffers that
// hold floats, are frozen; what holds integers stays as it is in the file. The network is put into evaluation mode:
// without dropout, and normalised by stored statistics.
//
// A TorchScript file is a program, which runs with your rights: load only files that you trust.
//
//   [model]
//   type = "torchscript"
//   file = "network.pt"  # beside the pipeline file
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linspace.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "plugins/models/nn/meaning.hpp"

namespace {

namespace jit = torch::jit;
namespace convention = sdpipe::nn;

class Network;

struct TorchScript : convention::Meaning {
  std::string file;

  void prepare(sdp::Call& call, const sdp::Shape& sample);
  std::shared_ptr<Network> build(const sdp::Shape& sample) const;
  void init(const sdp::Draw& draw, const std::string& name, at::Tensor& p) const;

 private:
  void probe(const sdp::Call& call, const sdp::Shape& sample) const;

  std::shared_ptr<const jit::Module> module_;  // as in the file
  bool told_ = false;                          // of the condition
  std::map<std::string, at::Tensor> initial_;  // values of the parameters
};

// A tensor under its name in the file.
class Entry {
 public:
  Entry(std::string name, at::Tensor tensor) : name_(std::move(name)), tensor_(std::move(tensor)) {}
  const std::string& key() const { return name_; }
  const at::Tensor& value() const { return tensor_; }

 private:
  std::string name_;
  at::Tensor tensor_;
};
using Entries = std::vector<Entry>;

// What the adapter asks of a torch::nn::Module, for a module of TorchScript. Both lists share memory with the module.
class Network {
 public:
  Network(jit::Module module, const convention::Meaning& meaning, bool told)
      : module_(std::move(module)), meaning_(meaning), told_(told) {
    for (const auto& p : module_.named_parameters()) add(p.value.requires_grad() ? trained_ : frozen_, p.name, p.value);
    for (const auto& b : module_.named_buffers())
      if (b.value.is_floating_point()) add(frozen_, b.name, b.value);
  }
  const Entries& named_parameters() const { return trained_; }
  const Entries& named_buffers() const { return frozen_; }

  at::Tensor forward(const sdp::Pass& pass, const at::Tensor& x) {
    const convention::Seen seen = convention::seen_by_network(meaning_, pass, x);
    const at::Tensor condition = convention::condition_of(meaning_, pass, seen.sigma);
    return convention::residual_of(meaning_, pass, seen, evaluate(seen.x, condition.to(x.scalar_type())));
  }

  // The optimising executor rewrites a network after its first calls, so that equal inputs give other bits.
  at::Tensor evaluate(const at::Tensor& x, const at::Tensor& condition) {
    const jit::GraphOptimizerEnabledGuard as_written(false);
    std::vector<c10::IValue> inputs{x};
    if (told_) inputs.emplace_back(condition);
    return module_.forward(std::move(inputs)).toTensor();
  }

 private:
  // Parameters that are tied are one tensor with several names, of which the first counts.
  void add(Entries& list, const std::string& name, const at::Tensor& tensor) const {
    const auto same = [&](const Entry& e) { return e.value().is_same(tensor); };
    if (std::none_of(trained_.begin(), trained_.end(), same) && std::none_of(frozen_.begin(), frozen_.end(), same))
      list.emplace_back(name, tensor);
  }

  jit::Module module_;
  convention::Meaning meaning_;
  bool told_;
  Entries trained_, frozen_;
};

[[noreturn]] void refuse(const sdp::Call& call, const std::string& text) { call.fail(text, "file"); }

// LibTorch's last line is the reason; those before it trace the network's source.
std::string reason(const std::exception& e) {
  const auto* error = dynamic_cast<const c10::Error*>(&e);
  std::string text = error ? error->what_without_backtrace() : e.what();
  text.erase(text.find_last_not_of(" \n") + 1);
  return text.substr(text.find_last_of('\n') + 1);
}

jit::Module loaded(const sdp::Call& call, const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) refuse(call, "cannot open \"" + file + "\"");
  try {
    return jit::load(stream, at::kCPU);
  } catch (const std::exception& e) {
    refuse(call,
           "\"" + file + "\" is no TorchScript file; write it with torch.jit.trace(...).save(...) (" + reason(e) + ")");
  }
}

// Where there is no file, as in the example of the schema: y = gain x + slope condition.
jit::Module stand_in() {
  jit::Module module("StandIn");
  module.register_parameter("gain", at::full({1}, 0.1), false);
  module.register_parameter("slope", at::full({1}, 1e-3), false);
  module.define(
      "def forward(self, x, condition):\n  return self.gain * x + self.slope * condition.reshape(-1, 1, 1, 1)");
  return module;
}

std::string signature(const c10::FunctionSchema& schema) {
  std::string text;
  for (size_t i = 1; i < schema.arguments().size(); ++i) {
    const c10::Argument& argument = schema.arguments()[i];
    text += (i > 1 ? ", " : "") + argument.name() + ": " + argument.type()->annotation_str();
  }
  return "forward(" + text + ") -> " + schema.returns().at(0).type()->annotation_str();
}

// Is the network told of the condition?
bool takes_condition(const sdp::Call& call, const jit::Module& module, const std::string& file) {
  const auto method = module.find_method("forward");
  if (!method) refuse(call, "the network of \"" + file + "\" has no forward()");
  const c10::FunctionSchema& schema = method->function().getSchema();
  const std::vector<c10::Argument>& arguments = schema.arguments();  // the first is the module
  bool fits = arguments.size() > 1 && schema.returns().at(0).type()->kind() == c10::TypeKind::TensorType;
  for (size_t i = 1; i < arguments.size(); ++i)
    fits = fits && (i < 3 ? c10::TensorType::get()->isSubtypeOf(*arguments[i].type())
                          : arguments[i].default_value().has_value());
  if (!fits)
    refuse(call,
           "a network is forward(x, condition) or forward(x), of tensors, and returns one tensor, but that of \"" +
               file + "\" is " + signature(schema));
  return arguments.size() > 2;
}

void TorchScript::prepare(sdp::Call& call, const sdp::Shape& sample) {
  if (sample.size() != 3) call.fail("torchscript works on images, samples of 3 axes (channel, height, width)");
  check_meaning(call);
  jit::Module module = file.empty() ? stand_in() : loaded(call, file);
  module.eval();
  told_ = takes_condition(call, module, file);
  for (const auto& p : module.named_parameters())
    if (!p.value.is_floating_point())
      refuse(call, "parameter \"" + p.name + "\" holds " + c10::toString(p.value.scalar_type()) +
                       ", not floats; register it as a buffer");
  module_ = std::make_shared<const jit::Module>(module);
  const std::shared_ptr<Network> network = build(sample);
  for (const Entry& e : network->named_parameters()) initial_.emplace(e.key(), e.value().detach());
  probe(call, sample);
}

// One evaluation in float32, and a second one that must repeat it, for a batch that no trace was made with.
void TorchScript::probe(const sdp::Call& call, const sdp::Shape& sample) const {
  const at::AutoGradMode no_gradients(false);
  const std::shared_ptr<Network> network = build(sample);
  for (const Entries* list : {&network->named_parameters(), &network->named_buffers()})
    for (const Entry& e : *list) e.value().set_data(e.value().to(at::kFloat));
  const int64_t batch = 3;
  const sdp::Shape shape{batch, sample[0], sample[1], sample[2]};
  const at::Tensor x = at::linspace(-1, 1, batch * sample[0] * sample[1] * sample[2], at::kFloat).view(shape);
  const at::Tensor condition = at::full({batch}, condition_scale / 2, at::kFloat);
  at::Tensor y, again;
  try {
    y = network->evaluate(x, condition);
    again = network->evaluate(x, condition);
  } catch (const std::exception& e) {
    refuse(call, "the network of \"" + file + "\" fails on " + std::to_string(batch) + " images: " + reason(e));
  }
  if (y.sizes() != x.sizes())
    refuse(call, "the network of \"" + file + "\" makes a tensor of " + c10::str(y.sizes()) + " out of images of " +
                     c10::str(x.sizes()) + "; both must have one shape, for every size of a batch");
  if (!at::equal(y, again))
    refuse(call, "the network of \"" + file +
                     "\" is random: equal inputs give other outputs; trace it in evaluation "
                     "mode, network.eval()");
}

std::shared_ptr<Network> TorchScript::build(const sdp::Shape&) const {
  return std::make_shared<Network>(module_->deepcopy(), *this, told_);
}

void TorchScript::init(const sdp::Draw&, const std::string& name, at::Tensor& p) const {
  p.copy_(initial_.at(name).view(p.sizes()));
}

}  // namespace

SDP_PLUGIN("Apache-2.0",
           convention::described(sdp::torch_model<TorchScript>("torchscript", "1.0.0",
                                                               "Your own network, from a TorchScript file"))
               .file("file", &TorchScript::file, "written by torch.jit; a program: load only what you trust")
               .example("file = \"network.pt\""))
