#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <c10/core/DefaultDtype.h>
#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include "tests/plugins/support.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

Model model(const std::string& id) {
  static const std::vector<Plugin> plugins = load_library(SDPIPE_TORCH_EXAMPLE);
  for (const Plugin& p : plugins)
    if (p.id() == id) return Model(p, default_settings(p.schema), {1, 2, 2});
  throw std::logic_error("no model " + id);
}

ParamSet filled(const Model& m, double value) {
  std::vector<at::Tensor> tensors;
  for (const ModelParamInfo& p : m.params()) tensors.push_back(at::full(p.shape, value, at::kDouble));
  return ParamSet(tensors);
}

std::string forward_failure(const std::string& id) {
  const Model m = model(id);
  const ParamSet params = filled(m, 1);
  return failure([&] { m.forward({params, points({1})}, noise({1, 1, 2, 2}, 1)); });
}

}  // namespace

TEST_CASE("a network's parameters are listed before its buffers, which are frozen") {
  const Model m = model("scaled");
  REQUIRE(m.params().size() == 3);
  CHECK(m.params()[0].name == "gain");
  CHECK(m.params()[0].shape == std::vector<int64_t>{1});
  CHECK(m.params()[1].name == "unused");
  CHECK(m.params()[1].shape == std::vector<int64_t>{2, 3});
  CHECK(m.params()[2].name == "scale");
  CHECK(m.params()[2].shape == std::vector<int64_t>{2});
  CHECK_FALSE(m.params()[1].frozen);
  CHECK(m.params()[2].frozen);
}

TEST_CASE("init draws parameters from the host and keeps the buffers that the network was built with") {
  const Model m = model("scaled");
  const ParamSet params = filled(m, 7);
  m.init(params, 1);
  CHECK(numbers(params.tensors()[0]) == std::vector<double>{0});
  CHECK(params.tensors()[1].abs().max().item<double>() < 1 / std::sqrt(3.0));
  CHECK(params.tensors()[1].abs().min().item<double>() > 0);
  CHECK(numbers(params.tensors()[2]) == std::vector<double>{1.5, 1.5});
}

TEST_CASE("gradients of unused parameters are zero, of others exact, and those of buffers are not written") {
  const Model m = model("scaled");
  const ParamSet params = filled(m, 3), gradients = filled(m, 99);
  const at::Tensor x = noise({1, 1, 2, 2}, 1), gy = noise({1, 1, 2, 2}, 2);
  const Points at = points({1});
  auto [y, saved] = m.forward_saving({params, at}, x);
  CHECK(numbers(y) == numbers(9 * x));
  const at::Tensor gx = m.vjp({params, at}, x, saved, gy, &gradients, true);
  CHECK(numbers(gx) == numbers(9 * gy));
  CHECK(gradients.tensors()[0].item<double>() == Approx(3 * (x * gy).sum().item<double>()).epsilon(1e-14));
  CHECK(numbers(gradients.tensors()[1]) == std::vector<double>(6, 0));
  CHECK(numbers(gradients.tensors()[2]) == std::vector<double>(2, 99));
}

TEST_CASE("gradients flow although the host forbids or even switches off recording") {
  const Model m = model("scaled");
  const ParamSet params = filled(m, 3);
  const at::Tensor x = noise({1, 1, 2, 2}, 1);
  const Points at = points({1});
  const c10::InferenceMode inference(true);
  auto [y, saved] = m.forward_saving({params, at}, x);
  CHECK(numbers(m.vjp({params, at}, x, saved, x, nullptr, true)) == numbers(9 * x));
}

TEST_CASE("LibTorch's global state is the same after building and running a network") {
  const at::Generator generator = at::detail::getDefaultCPUGenerator();
  const at::Tensor random = generator.get_state();
  const Model m = model("rude");
  const ParamSet params = filled(m, 1);
  const int threads = at::get_num_threads();
  const c10::AutoGradMode no_gradients(false);
  m.init(params, 1);
  m.forward_saving({params, points({1})}, noise({1, 1, 2, 2}, 1));
  CHECK(generator.get_state().equal(random));
  CHECK(c10::get_default_dtype() == caffe2::TypeMeta::Make<float>());
  CHECK(at::get_num_threads() == threads);
  CHECK_FALSE(c10::GradMode::is_enabled());
}

TEST_CASE("networks that are no pure function of float parameters are refused in full sentences") {
  CHECK(forward_failure("writing") ==
        "plugin \"writing\": forward failed: the network writes its tensor \"scale\" in forward(); a model is a pure "
        "function of parameters, x and point");
  CHECK(forward_failure("shrinking") ==
        "plugin \"shrinking\": forward failed: forward() returned another shape than that of x");
  CHECK(forward_failure("failing") ==
        "plugin \"failing\": forward failed: shape '[-1, 7]' is invalid for input of size 4");
  CHECK(failure([] { model("counting"); }) ==
        "plugin \"counting\": create failed: the network's tensor \"steps\" does not hold floats, so that it cannot be "
        "stored");
}
