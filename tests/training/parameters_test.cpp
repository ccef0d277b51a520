#include "core/training/parameters.hpp"

#include "tests/diffusion/setup.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const std::vector<ModelParamInfo> model = {{"conv.weight", {3, 5}, false, false},
                                           {"table", {2, 2}, true, false},
                                           {"conv.bias", {3}, false, false},
                                           {"scale", {}, false, true}};

}  // namespace

TEST_CASE("every parameter begins at a multiple of 64 bytes, trained and frozen apart") {
  const Layout layout(model);
  CHECK(layout.trained_size() == 48);
  CHECK(layout.frozen_size() == 16);
  CHECK(layout.count() == 15 + 3 + 1);
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const FlatParameters params(layout, dtype);
    for (size_t i = 0; i < model.size(); ++i) {
      const at::Tensor& view = params.views().tensors()[i];
      CHECK(reinterpret_cast<uintptr_t>(view.const_data_ptr()) % 64 == 0);
      CHECK(view.sizes() == at::IntArrayRef(model[i].shape));
      CHECK(view.is_contiguous());
    }
  }
}

TEST_CASE("views and the flat buffer are one memory") {
  const Layout layout(model);
  FlatParameters params(layout, at::kFloat);
  params.views().tensors()[2].fill_(7);
  const std::vector<double> flat = numbers(params.flat());
  for (size_t i = 0; i < flat.size(); ++i) CHECK(flat[i] == (i >= 16 && i < 19 ? 7 : 0));
}

TEST_CASE("a set that shares the frozen tensors has trained ones of its own") {
  const Layout layout(model);
  FlatParameters params(layout, at::kFloat);
  const FlatParameters average(layout, params);
  params.views().tensors()[0].fill_(1);
  params.views().tensors()[1].fill_(2);
  CHECK(average.views().tensors()[0].sum().item<double>() == 0);
  CHECK(average.views().tensors()[1].sum().item<double>() == 8);
}

TEST_CASE("an element of the flat buffer belongs to the parameter that it stands in") {
  const Layout layout(model);
  CHECK(layout.name_at(0) == "conv.weight");
  CHECK(layout.name_at(14) == "conv.weight");
  CHECK(layout.name_at(16) == "conv.bias");
  CHECK(layout.name_at(18) == "conv.bias");
  CHECK(layout.name_at(32) == "scale");
}

TEST_CASE("parameters are loaded by name, and a file that does not fit is refused with all that is wrong") {
  const Layout layout(model);
  FlatParameters from(layout, at::kDouble), to(layout, at::kFloat);
  for (size_t i = 0; i < model.size(); ++i) from.views().tensors()[i].copy_(noise(model[i].shape, i));
  NamedTensors named = from.named(layout);
  const uint64_t version = to.views().view().version;
  to.load(layout, named, "f");
  CHECK(to.views().view().version != version);
  for (size_t i = 0; i < model.size(); ++i)
    CHECK(largest_difference(to.views().tensors()[i], from.views().tensors()[i]) < 1e-7);
  named.erase("conv.bias");
  named["scale"] = noise({2, 1}, 1);
  named["other"] = noise({1}, 1);
  CHECK(message_of<CheckpointError>([&] { to.load(layout, named, "m.safetensors"); }) ==
        "m.safetensors does not fit the model: \"conv.bias\" is missing; \"scale\" has shape [2, 1], the model needs "
        "[]; \"other\" is not a "
        "parameter of the model");
}
