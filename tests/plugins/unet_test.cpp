#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <numeric>

#include "core/host/conformance.hpp"
#include "tests/plugins/support.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const std::string tiny = "channels = 8\nmultipliers = [1, 2]\ngroups = 4\n";
const std::string quickstart = "patch = 2\nchannels = 32\nmultipliers = [1, 2]\nblocks = 1";

// A unet in float64 on a batch of two samples. Parameters are away from the zeros of init, behind which errors hide.
struct Subject {
  Subject(const std::string& toml, const SampleShape& shape)
      : model(plugin("unet"), settings(plugin("unet"), toml), shape), sample(shape), at(points({0.4, 2})) {
    at.t = {0.2, 0.9};
    at.sigma = {0.05, 0.3};
  }

  ParamSet params(uint64_t seed) const {
    ParamSet set(storage());
    model.init(set, seed);
    for (size_t i = 0; i < set.tensors().size(); ++i) {
      const at::Tensor& p = set.tensors()[i];
      p.add_(noise(p.sizes().vec(), 100 * seed + i), 0.1);
    }
    return set;
  }
  std::vector<at::Tensor> storage() const {
    std::vector<at::Tensor> tensors;
    for (const ModelParamInfo& p : model.params()) tensors.push_back(at::zeros(p.shape, at::kDouble));
    return tensors;
  }
  ModelCall call(const ParamSet& params, bool train = false, uint32_t step = 0) const {
    CallScope scope;
    scope.random.purpose = Purpose::model;
    scope.random.sample = numbers;
    scope.random.step = step;
    return {params, at, scope, train};
  }
  at::Tensor batch(uint64_t seed) const {
    std::vector<int64_t> shape = sample;
    shape.insert(shape.begin(), 2);
    return noise(shape, seed);
  }

  Model model;
  SampleShape sample;
  Points at;
  std::vector<uint64_t> numbers = {7, 8};
};

struct Gradients {
  at::Tensor x;
  ParamSet params;

  bool equal(const Gradients& other) const {
    for (size_t i = 0; i < params.tensors().size(); ++i)
      if (!params.tensors()[i].equal(other.params.tensors()[i])) return false;
    return x.equal(other.x);
  }
};

Gradients vjp(const Subject& s, const ModelCall& call, const at::Tensor& x, SavedForward& saved, const at::Tensor& gy) {
  ParamSet gradients(s.storage());
  const at::Tensor gx = s.model.vjp(call, x, saved, gy, &gradients, true);
  return {gx, std::move(gradients)};
}

Gradients alone(const Subject& s, const ModelCall& call, const at::Tensor& x, const at::Tensor& gy) {
  auto [y, saved] = s.model.forward_saving(call, x);
  return vjp(s, call, x, saved, gy);
}

std::string failure(const std::string& toml, const SampleShape& sample) {
  try {
    Model(plugin("unet"), settings(plugin("unet"), toml), sample);
  } catch (const PluginFailure& e) {
    return e.what();
  }
  return "no failure";
}

}  // namespace

TEST_CASE("the unet of the quickstart has 524,100 parameters") {
  const Subject s(quickstart, {1, 28, 28});
  int64_t total = 0;
  for (const ModelParamInfo& p : s.model.params()) {
    CHECK_FALSE(p.frozen);
    total += std::accumulate(p.shape.begin(), p.shape.end(), int64_t{1}, std::multiplies<>());
  }
  CHECK(total == 524100);
}

TEST_CASE("a freshly initialised unet returns zero, so that its clean estimate is its input") {
  const Subject s(tiny, {3, 8, 8});
  const ParamSet fresh(s.storage());
  s.model.init(fresh, 1);
  CHECK(s.model.forward(s.call(fresh), s.batch(1)).abs().max().item<double>() == 0);
}

TEST_CASE("initial values of a unet depend on the seed alone") {
  const Subject s(tiny, {1, 8, 8});
  const ParamSet one(s.storage()), again(s.storage()), other(s.storage());
  s.model.init(one, 1);
  s.model.init(again, 1);
  s.model.init(other, 2);
  bool differs = false;
  for (size_t i = 0; i < one.tensors().size(); ++i) {
    CHECK(one.tensors()[i].equal(again.tensors()[i]));
    differs |= !one.tensors()[i].equal(other.tensors()[i]);
  }
  CHECK(differs);
}

TEST_CASE("a unet keeps the laws of models in every option") {
  const std::pair<std::string, SampleShape> cases[] = {
      {tiny, {1, 8, 8}},
      {tiny + "blocks = 2\nattention = [0, 1]", {3, 8, 12}},
      {tiny + "patch = 2\ncondition = \"sigma\"", {2, 12, 8}},
      {"channels = 8\nmultipliers = [1, 1, 2]\ngroups = 2\nmiddle_attention = false\ncondition = \"level\"", {4, 4, 8}},
      {"channels = 6\nmultipliers = [1]\ngroups = 3\npatch = 5", {1, 5, 15}}};
  for (const auto& [toml, shape] : cases) {
    for (const LawResult& law : check_model(plugin("unet"), settings(plugin("unet"), toml), shape)) {
      INFO(toml << "\n" << law.id << ": " << law.detail);
      CHECK(law.holds);
    }
  }
}

TEST_CASE("gradients of a training unet with dropout equal central differences") {
  const Subject s(tiny + "dropout = 0.3\nattention = [0]", {2, 8, 8});
  const ParamSet params = s.params(1);
  const ModelCall call = s.call(params, true, 5);
  const at::Tensor x = s.batch(1), gy = s.batch(2);
  const Gradients g = alone(s, call, x, gy);
  const auto derivative = [&](double& element) {
    constexpr double h = 1e-5;
    const auto at_offset = [&](double by) {
      element += by;
      const double value = (s.model.forward(call, x) * gy).sum().item<double>();
      element -= by;
      return value;
    };
    return (at_offset(h) - at_offset(-h)) / (2 * h);
  };
  for (const int64_t i : {0, 17, 100, 255})
    CHECK(g.x.data_ptr<double>()[i] == Approx(derivative(x.data_ptr<double>()[i])).epsilon(1e-5).margin(1e-6));
  for (size_t p = 0; p < params.tensors().size(); p += 3) {
    const at::Tensor& tensor = params.tensors()[p];
    const int64_t i = 7919 * static_cast<int64_t>(p) % tensor.numel();
    INFO(s.model.params()[p].name << "[" << i << "]");
    CHECK(g.params.tensors()[p].data_ptr<double>()[i] ==
          Approx(derivative(tensor.data_ptr<double>()[i])).epsilon(1e-5).margin(1e-6));
  }
}

TEST_CASE("interleaved forwards of two parameter sets keep their own gradients, bit for bit") {
  const Subject s(tiny, {1, 8, 8});
  const ParamSet raw = s.params(1), average = s.params(2);
  const at::Tensor a = s.batch(1), b = s.batch(2), gy = s.batch(3);
  const Gradients expected_a = alone(s, s.call(raw), a, gy), expected_b = alone(s, s.call(average), b, gy);
  REQUIRE_FALSE(expected_a.equal(expected_b));

  auto [y_a, saved_a] = s.model.forward_saving(s.call(raw), a);
  auto [y_b, saved_b] = s.model.forward_saving(s.call(average), b);
  s.model.forward(s.call(average), a);
  CHECK(vjp(s, s.call(raw), a, saved_a, gy).equal(expected_a));
  CHECK(vjp(s, s.call(average), b, saved_b, gy).equal(expected_b));
}

TEST_CASE("a unet computes with the parameters of the call, also after they changed in place") {
  const Subject s(tiny, {1, 8, 8});
  ParamSet raw = s.params(1);
  const ParamSet average = s.params(2);
  const at::Tensor x = s.batch(1), with_raw = s.model.forward(s.call(raw), x),
                   with_average = s.model.forward(s.call(average), x);
  CHECK_FALSE(with_raw.equal(with_average));
  CHECK(s.model.forward(s.call(raw), x).equal(with_raw));
  for (size_t i = 0; i < raw.tensors().size(); ++i) raw.tensors()[i].copy_(average.tensors()[i]);
  raw.changed();
  CHECK(s.model.forward(s.call(raw), x).equal(with_average));
}

TEST_CASE("dropout of a unet is redrawn equal for equal step, and is off outside training") {
  const Subject s(tiny + "dropout = 0.5", {1, 8, 8}), without(tiny, {1, 8, 8});
  const ParamSet params = s.params(1);
  const at::Tensor x = s.batch(1), y = s.model.forward(s.call(params, true, 1), x);
  CHECK(s.model.forward(s.call(params, true, 1), x).equal(y));
  CHECK_FALSE(s.model.forward(s.call(params, true, 2), x).equal(y));
  CHECK(s.model.forward(s.call(params, false), x).equal(without.model.forward(without.call(params, false), x)));
}

TEST_CASE("a unet is told of the path what its condition says and nothing else") {
  for (const std::string condition : {"t", "sigma", "level"}) {
    Subject s(tiny + "condition = \"" + condition + "\"", {1, 8, 8});
    const ParamSet params = s.params(1);
    const at::Tensor x = s.batch(1), y = s.model.forward(s.call(params), x);
    const auto moved = [&](std::vector<double>& values) {
      const std::vector<double> kept = std::exchange(values, {0.5, 0.6});
      const bool differs = !s.model.forward(s.call(params), x).equal(y);
      values = kept;
      return differs;
    };
    INFO(condition);
    CHECK(moved(s.at.t) == (condition == "t"));
    CHECK(moved(s.at.sigma) == (condition == "sigma"));
    CHECK(moved(s.at.level) == (condition == "level"));
  }
}

TEST_CASE("settings of a unet that do not fit the images are refused in full sentences") {
  CHECK(failure("patch = 2\nmultipliers = [1, 2, 4]", {1, 28, 28}) ==
        "plugin \"unet\": create failed: images are 28 x 28 (height x width), but both must be divisible by 8: "
        "patch 2, doubled for each of the 3 multipliers but the first; resize the images, or use another patch or "
        "fewer multipliers (parameter \"multipliers\")");
  CHECK(failure("patch = 3", {1, 28, 30}) ==
        "plugin \"unet\": create failed: images are 28 x 30 (height x width), but both must be divisible by 6: "
        "patch 3, doubled for each of the 2 multipliers but the first; resize the images, or use another patch or "
        "fewer multipliers (parameter \"patch\")");
  CHECK(failure("attention = [2]", {1, 28, 28}) ==
        "plugin \"unet\": create failed: there is no level 2; levels are 0 to 1 (parameter \"attention\")");
  CHECK(failure("groups = 7", {1, 28, 28}) ==
        "plugin \"unet\": create failed: the width 32 of level 0 (channels * multiplier) is not divisible "
        "by 7 groups (parameter \"groups\")");
  CHECK(failure("channels = 9\ngroups = 3", {1, 28, 28}) ==
        "plugin \"unet\": create failed: must be even: the embedding has as many sines as cosines (parameter "
        "\"channels\")");
  CHECK(failure("multipliers = []", {1, 28, 28}) ==
        "plugin \"unet\": create failed: needs 1 to 16 entries, one for each resolution (parameter \"multipliers\")");
  CHECK(failure("", {28, 28}) ==
        "plugin \"unet\": create failed: unet works on images, samples of 3 axes (channel, height, width)");
}
