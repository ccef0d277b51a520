#include <ATen/TensorOperators.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "core/config/example.hpp"
#include "core/host/conformance.hpp"
#include "tests/plugins/parity.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const std::filesystem::path folder = SDPIPE_SOURCE_DIR "/tests/parity/torchscript";

std::string table(const std::string& file) {
  return "file = \"" + (folder / file).string() + "\"\ncondition = \"level\"\ncondition_scale = 1\n";
}

Model network(const std::string& file, const std::string& toml = "") {
  return Model(plugin("torchscript"), settings(plugin("torchscript"), table(file) + toml), {3, 4, 4});
}

Fixture fixture(const std::string& name) { return read_fixture(folder / (name + ".safetensors")); }

Points at_levels(const Fixture& f) {
  return points(f.tensors.count("input.condition") ? numbers(f.at("input.condition")) : std::vector<double>{0, 0}, 0.5);
}

std::string refusal(const std::string& file) {
  return failure([&] { network(file); });
}

std::string refused(const std::string& reason) {
  return "plugin \"torchscript\": create failed: " + reason + " (parameter \"file\")";
}

std::string quoted(const std::string& file) { return '"' + (folder / file).string() + '"'; }

}  // namespace

TEST_CASE("a network in a TorchScript file computes what it computes in Python, and the same gradients") {
  for (const std::string name : {"traced", "scripted"}) {
    const Fixture f = fixture(name);
    const Model model = network(name + ".pt");
    for (const auto& [dtype, bound] : {std::pair(at::kDouble, 1e-9), std::pair(at::kFloat, 1e-4)}) {
      const Deviation d = deviation(model, f, at_levels(f), dtype);
      INFO(name << "\nworst gradient: " << d.worst);
      CHECK(d.output <= bound);
      CHECK(d.input_gradient <= bound);
      CHECK(d.norms <= bound);
      CHECK(d.projections <= bound);
    }
  }
}

TEST_CASE("training starts from the values in the file, in their full precision") {
  for (const std::string name : {"traced", "scripted"}) {
    const Fixture f = fixture(name);
    const Model model = network(name + ".pt");
    const ParamSet params = storage(model);
    model.init(params, 1);
    for (size_t i = 0; i < params.tensors().size(); ++i) {
      INFO(model.params()[i].name);
      CHECK(numbers(params.tensors()[i]) == numbers(f.at("weight." + model.params()[i].name)));
    }
  }
}

TEST_CASE("parameters without gradient and buffers of floats are frozen, and of tied names the first counts") {
  std::vector<std::string> trained, frozen;
  const Model model = network("traced.pt");
  for (const ModelParamInfo& p : model.params()) (p.frozen ? frozen : trained).push_back(p.name);
  std::sort(trained.begin(), trained.end());
  std::sort(frozen.begin(), frozen.end());
  CHECK(trained == std::vector<std::string>{"batch.bias", "batch.weight", "enter.bias", "enter.weight", "first.bias",
                                            "first.weight", "leave.weight", "norm.bias", "norm.weight", "second.bias",
                                            "time.bias", "time.weight"});
  CHECK(frozen == std::vector<std::string>{"batch.running_mean", "batch.running_var", "leave.bias", "scale"});
}

TEST_CASE("networks in TorchScript files keep the laws of models, also told of sigma and estimating noise") {
  for (const std::string& toml :
       {table("traced.pt") + "output = \"epsilon\"\nprocess = \"vp\"", table("scripted.pt") + "range = \"unit\""}) {
    for (const LawResult& law : check_model(plugin("torchscript"), settings(plugin("torchscript"), toml), {3, 4, 4})) {
      INFO(toml << "\n" << law.id << ": " << law.detail);
      CHECK(law.holds);
    }
  }
}

TEST_CASE("without a file, as the example's is, a network of two numbers stands in and keeps the laws") {
  const Settings example = example_settings(plugin("torchscript"));
  CHECK(Model(plugin("torchscript"), example, {1, 4, 4}).params().size() == 2);
  for (const LawResult& law : check_model(plugin("torchscript"), example, {1, 4, 4})) {
    INFO(law.id << ": " << law.detail);
    CHECK(law.holds);
  }
}

TEST_CASE("threads with parameters of their own do not disturb each other") {
  const Fixture f = fixture("traced");
  const Model model = network("traced.pt");
  const at::Tensor x = noise({2, 3, 4, 4}, 1);
  const Points at = at_levels(f);
  const auto gradient = [&](double factor) {
    const ParamSet params = storage(model), gradients = storage(model);
    model.init(params, 1);
    for (const at::Tensor& p : params.tensors()) p.mul_(factor);
    auto [y, saved] = model.forward_saving({params, at}, x);
    const at::Tensor gx = model.vjp({params, at}, x, saved, x, &gradients, true);
    std::vector<double> all = numbers(gx);
    for (const at::Tensor& g : gradients.tensors())
      for (const double number : numbers(g)) all.push_back(number);
    return all;
  };
  const std::vector<double> one = gradient(1), half = gradient(0.5);
  CHECK(one != half);
  std::vector<std::vector<double>> found(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < found.size(); ++i) threads.emplace_back([&, i] { found[i] = gradient(i % 2 ? 0.5 : 1); });
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < found.size(); ++i) CHECK(found[i] == (i % 2 ? half : one));
}

TEST_CASE("files that hold no network for images are refused in full sentences") {
  const std::string no_torchscript =
      " is no TorchScript file; write one with torch.jit.trace(...).save(...): what torch.save writes is pickled "
      "Python, "
      "which is never read";
  const std::string signature =
      "a network is forward(x, condition) or forward(x), of tensors, and returns one tensor, but that of ";
  CHECK(refusal("missing.pt") == refused("cannot open " + quoted("missing.pt")));
  CHECK(refusal("pickled.pt") == refused(quoted("pickled.pt") + no_torchscript));
  CHECK(refusal("") == refused(quoted("") + no_torchscript));  // the folder
  CHECK(refusal("labelled.pt") == refused(signature + quoted("labelled.pt") +
                                          " is forward(x: Tensor, condition: Tensor, labels: Tensor) -> Tensor"));
  CHECK(refusal("pair.pt") ==
        refused(signature + quoted("pair.pt") + " is forward(x: Tensor, condition: Tensor) -> Tuple[Tensor, Tensor]"));
  CHECK(refusal("variance.pt") ==
        refused("the network of " + quoted("variance.pt") +
                " makes a tensor of [3, 6, 4, 4] out of images of [3, 3, 4, 4]; both must have one shape, for every "
                "size of a batch"));
  CHECK(refusal("random.pt") == refused("the network of " + quoted("random.pt") +
                                        " is random: equal inputs give other outputs; trace it in evaluation mode, "
                                        "network.eval()"));
  CHECK(refusal("counted.pt") == refused("parameter \"steps\" holds Long, not floats; register it as a buffer"));
  CHECK(refusal("single.pt") ==
        refused("the network of " + quoted("single.pt") +
                " fails on 3 images: RuntimeError: shape '[1, 3, 4, 4]' is invalid for input of "
                "size 144"));
  CHECK(failure([] {
          Model(plugin("torchscript"), settings(plugin("torchscript"), table("scripted.pt")), {28, 28});
        }) ==
        "plugin \"torchscript\": create failed: torchscript works on images, samples of 3 axes (channel, height, "
        "width)");
}
