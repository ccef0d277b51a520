// torchscript: a network that torch.jit.trace or torch.jit.script wrote to a file, used and trained as it is.
//
//   y = forward(x, condition), or forward(x);   x0_hat = x + y, or what `output` makes of y (nn/meaning.hpp)
//
// x and y are (batch, channel, height, width), condition is (batch), in x's dtype: condition_scale times t or level, or
// sigma. Parameters that require a gradient are trained, from their values in the file on; the others, and buffers that
// hold floats, are frozen; what holds integers stays as it is in the file. The network is put into evaluation mode:
// without dropout, and normalised by stored statistics.
//
// On a GPU the network is loaded once more for it: integers, constants and the devices that a trace wrote down move
// there.
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
#include <memory>
#include <mutex>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "plugins/models/nn/meaning.hpp"

namespace {

namespace jit = torch::jit;
namespace convention = sdpipe::nn;

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
// Those that are trained, and those that are not, in the order of the file.
struct Tensors {
  std::vector<Entry> trained, frozen;
};

class Network;

struct TorchScript : convention::Meaning {
  std::string file;

  void prepare(sdp::Call& call, const sdp::Shape& sample);
  std::shared_ptr<Network> build(const sdp::Shape& sample) const;
  void init(const sdp::Draw& draw, const std::string& name, at::Tensor& p) const;

 private:
  void probe(const sdp::Call& call, const sdp::Shape& sample) const;

  std::shared_ptr<const std::string> bytes_;   // of the file
  std::shared_ptr<const jit::Module> module_;  // as in it
  bool told_ = false;                          // of the condition
  Tensors tensors_;                            // of module_
};

Tensors tensors_of(const jit::Module& module) {
  Tensors tensors;
  const auto add = [&](std::vector<Entry>& list, const std::string& name, const at::Tensor& tensor) {
    const auto same = [&](const Entry& e) { return e.value().is_same(tensor); };  // tied: the first name counts
    if (std::none_of(tensors.trained.begin(), tensors.trained.end(), same) &&
        std::none_of(tensors.frozen.begin(), tensors.frozen.end(), same))
      list.emplace_back(name, tensor);
  };
  for (const auto& p : module.named_parameters())
    add(p.value.requires_grad() ? tensors.trained : tensors.frozen, p.name, p.value);
  for (const auto& b : module.named_buffers())
    if (b.value.is_floating_point()) add(tensors.frozen, b.name, b.value);
  return tensors;
}

// The last line of LibTorch's text is the reason; those before it trace the network's source.
std::string reason(const std::exception& e) {
  const auto* error = dynamic_cast<const c10::Error*>(&e);
  std::string text = error ? error->what_without_backtrace() : e.what();
  text.erase(text.find_last_not_of(" \n") + 1);
  return text.substr(text.find_last_of('\n') + 1);
}

// ---- a network on a GPU

// A trace writes down the device that it was made on, for whatever the network makes anew.
void replace_devices(torch::jit::Block& block, at::Device device) {
  for (jit::Node* node : block.nodes()) {
    for (jit::Block* inner : node->blocks()) replace_devices(*inner, device);
    const bool is_device = node->kind() == c10::prim::Constant && node->output()->type() == c10::DeviceObjType::get();
    if (is_device) node->s_(c10::attr::value, device.str());
  }
}

// The network whose file holds `bytes`, on `device`, with the floats of `own`: what is trained and set stays one
// tensor.
jit::Module on_device(const std::string& bytes, const jit::Module& own, const Tensors& floats, at::Device device) {
  std::istringstream stream(bytes);
  jit::Module module = jit::load(stream, device);
  module.eval();
  const auto is_listed = [&](const at::Tensor& tensor) {
    const auto same = [&](const Entry& e) { return e.value().is_same(tensor); };
    return std::any_of(floats.trained.begin(), floats.trained.end(), same) ||
           std::any_of(floats.frozen.begin(), floats.frozen.end(), same);
  };
  auto part = module.modules().begin();
  for (const jit::Module& of_own : own.modules()) {
    const jit::Module there = *part++;
    for (size_t slot = 0; slot < of_own.type()->numAttributes(); ++slot) {
      const c10::IValue value = of_own._ivalue()->getSlot(slot);
      if (value.isTensor() && is_listed(value.toTensor())) there._ivalue()->setSlot(slot, value);
    }
    for (const jit::Method& method : there.get_methods()) replace_devices(*method.graph()->block(), device);
  }
  return module;
}

// A copy of the network in the file, with what the adapter asks of a torch::nn::Module.
class Network {
 public:
  Network(const jit::Module& original, const convention::Meaning& meaning, const std::string& file,
          std::shared_ptr<const std::string> bytes, bool told)
      : module_(copied(original)),
        meaning_(meaning),
        file_(file),
        bytes_(std::move(bytes)),
        told_(told),
        tensors_(tensors_of(module_)) {}
  const std::vector<Entry>& named_parameters() const { return tensors_.trained; }
  const std::vector<Entry>& named_buffers() const { return tensors_.frozen; }

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
    if (!x.is_cuda() || file_.empty()) return module_.forward(std::move(inputs)).toTensor();
    try {
      return module_on(x.device()).forward(std::move(inputs)).toTensor();
    } catch (const c10::OutOfMemoryError&) {
      throw;
    } catch (const std::exception& e) {
      throw std::runtime_error("the network of \"" + file_ + "\" fails on a GPU: " + reason(e) +
                               "; trace it there, or set run.device = \"cpu\"");
    }
  }

 private:
  // Copies of tensors ask for no gradient by themselves.
  static jit::Module copied(const jit::Module& original) {
    const at::AutoGradMode unrecorded(false);
    jit::Module copy = original.deepcopy();
    auto from = original.parameters().begin();
    for (const at::Tensor& p : copy.parameters()) p.set_requires_grad((*from++).requires_grad());
    return copy;
  }

  jit::Module module_on(at::Device device) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!on_gpu_) on_gpu_ = on_device(*bytes_, module_, tensors_, device);
    return *on_gpu_;
  }

  jit::Module module_;
  convention::Meaning meaning_;
  std::string file_;
  std::shared_ptr<const std::string> bytes_;  // of the file
  bool told_;
  Tensors tensors_;
  std::mutex mutex_;
  std::optional<jit::Module> on_gpu_;  // its parameters are on one device
};

[[noreturn]] void refuse(const sdp::Call& call, const std::string& text) { call.fail(text, "file"); }

std::string read(const sdp::Call& call, const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) refuse(call, "cannot open \"" + file + "\"");
  std::ostringstream content;
  content << stream.rdbuf();
  return content.str();
}

jit::Module loaded(const sdp::Call& call, const std::string& file, const std::string& bytes) {
  std::istringstream stream(bytes);
  try {
    return jit::load(stream, at::kCPU);
  } catch (const std::exception& e) {
    call.log(0, "LibTorch on " + file + ": " + reason(e));
    refuse(call, "\"" + file +
                     "\" is no TorchScript file; write one with torch.jit.trace(...).save(...): what torch.save writes "
                     "is pickled Python, which is never read");
  }
}

// Names of one tensor are, once loaded, tensors that share memory: gives all of them the first one's again.
void tie(const jit::Module& module) {
  std::vector<at::Tensor> seen;
  for (const jit::Module& part : module.modules())
    for (size_t slot = 0; slot < part.type()->numAttributes(); ++slot) {
      const c10::IValue value = part._ivalue()->getSlot(slot);
      if (!value.isTensor() || value.toTensor().numel() == 0) continue;
      const at::Tensor& tensor = value.toTensor();
      const auto first = std::find_if(seen.begin(), seen.end(), [&](const at::Tensor& t) {
        return t.const_data_ptr() == tensor.const_data_ptr() && t.sizes() == tensor.sizes() &&
               t.strides() == tensor.strides() && t.scalar_type() == tensor.scalar_type();
      });
      if (first == seen.end())
        seen.push_back(tensor);
      else
        part._ivalue()->setSlot(slot, *first);
    }
}

// Where there is no file, as in the example of the schema: y = gain x + slope condition.
jit::Module stand_in() {
  jit::Module module("StandIn");
  module.register_parameter("gain", at::full({1}, 0.1), false);
  module.register_parameter("slope", at::full({1}, 1e-3), false);
  module.define(
      "def forward(self, x, condition):\n  return self.gain * x + self.slope * condition.reshape(-1, 1, 1, 1)\n");
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
  bytes_ = std::make_shared<const std::string>(file.empty() ? "" : read(call, file));
  jit::Module module = file.empty() ? stand_in() : loaded(call, file, *bytes_);
  module.eval();
  tie(module);
  told_ = takes_condition(call, module, file);
  for (const auto& p : module.named_parameters())
    if (!p.value.is_floating_point())
      refuse(call, "parameter \"" + p.name + "\" holds " + c10::toString(p.value.scalar_type()) +
                       ", not floats; register it as a buffer");
  module_ = std::make_shared<const jit::Module>(module);
  tensors_ = tensors_of(module);
  probe(call, sample);
}

// One evaluation in float32, and a second one that must repeat it, for a batch that no trace was made with.
void TorchScript::probe(const sdp::Call& call, const sdp::Shape& sample) const {
  const at::AutoGradMode no_gradients(false);
  const std::shared_ptr<Network> network = build(sample);
  for (const std::vector<Entry>* list : {&network->named_parameters(), &network->named_buffers()})
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
  return std::make_shared<Network>(*module_, *this, file, bytes_, told_);
}

void TorchScript::init(const sdp::Draw&, const std::string& name, at::Tensor& p) const {
  const auto named = [&](const Entry& e) { return e.key() == name; };
  p.copy_(std::find_if(tensors_.trained.begin(), tensors_.trained.end(), named)->value().view(p.sizes()));
}

}  // namespace

SDP_PLUGIN("Apache-2.0",
           convention::described(sdp::torch_model<TorchScript>("torchscript", "1.0.0",
                                                               "Your own network, from a TorchScript file"))
               .file("file", &TorchScript::file, "written by torch.jit; a program: load only what you trust")
               .example("file = \"network.pt\""))
