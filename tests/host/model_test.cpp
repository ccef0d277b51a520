#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cstring>
#include <limits>

#include "core/base/random.hpp"
#include "core/host/conformance/measure.hpp"
#include "tests/host/probes.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const SampleShape shape = {1, 2, 2};

Model probe_model() { return Model(probe(SDP_KIND_MODEL), {}, shape); }

at::Tensor batch_of(int64_t n) { return conformance::random_batch(n, shape, at::kFloat, 1); }

}  // namespace

TEST_CASE("a model describes its parameters") {
  reset_acts();
  acts().params = {{"weight", {3, 2}, SDP_PARAM_KEEP_F32}, {"table", {5}, SDP_PARAM_FROZEN}, {"scale", {}, 0}};
  const Model model = probe_model();
  REQUIRE(model.params().size() == 3);
  CHECK(model.params()[0].name == "weight");
  CHECK(model.params()[0].shape == std::vector<int64_t>{3, 2});
  CHECK(model.params()[0].keep_f32);
  CHECK_FALSE(model.params()[0].frozen);
  CHECK(model.params()[1].frozen);
  CHECK(model.params()[2].shape.empty());
  CHECK_FALSE(model.is_fitted());
  CHECK(model.offers(at::kDouble));
  CHECK_FALSE(model.offers(at::kHalf));
}

TEST_CASE("a parameter that cannot be described is refused") {
  reset_acts();
  acts().params = {{"weight", {1}}, {"deep", {1, 1, 1, 1, 1, 1, 1, 1, 1}}};
  CHECK_THROWS_WITH(probe_model(), "plugin \"probe\": parameter 1 cannot be described");
}

TEST_CASE("parameters that a checkpoint could not hold apart are refused") {
  reset_acts();
  acts().params = {{"weight", {1}}, {"weight", {2}}};
  CHECK_THROWS_WITH(probe_model(), "plugin \"probe\": its parameter \"weight\" shares its name with another");
  acts().params = {{"", {1}}};
  CHECK_THROWS_WITH(probe_model(), "plugin \"probe\": its parameter \"\" has a name that checkpoints cannot hold");
  acts().params = {{"vast", {int64_t{1} << 40, int64_t{1} << 40}}};
  CHECK_THROWS_WITH(probe_model(), "plugin \"probe\": its parameter \"vast\" has an impossible shape");
  acts().params = {{"less", {-1}}};
  CHECK_THROWS_WITH(probe_model(), "plugin \"probe\": its parameter \"less\" has an impossible shape");
}

TEST_CASE("each parameter is initialised from a stream of its own, whole") {
  reset_acts();
  acts().params = {{"a", {2, 3}}, {"b", {5}}};
  acts().init = [](sdp::Call& call, const std::vector<sdp_tensor*>& params) {
    call.normal(0, params[0]);
    call.normal(3, params[1]);
  };
  const ParamSet params({at::zeros({2, 3}), at::zeros({5})});
  probe_model().init(params, 42);
  std::vector<float> a(6), b(5);
  fill_normal(Stream{42, Purpose::init, 0, 0, 0}, std::span<float>(a));
  fill_normal(Stream{42, Purpose::init, 1, 0, 3}, std::span<float>(b));
  CHECK(std::memcmp(params.tensors()[0].const_data_ptr(), a.data(), 24) == 0);
  CHECK(std::memcmp(params.tensors()[1].const_data_ptr(), b.data(), 20) == 0);
}

TEST_CASE("a change of the parameters is a new version, and no two sets share one") {
  ParamSet a({at::ones({2})}), b({at::ones({2})});
  CHECK(a.view().n == 1);
  CHECK(a.view().version != b.view().version);
  const uint64_t before = a.view().version;
  CHECK(a.view().version == before);
  a.changed();
  CHECK(a.view().version > before);
  CHECK(a.view().version != b.view().version);
  CHECK(before != 0);
}

TEST_CASE("forward sees the parameters, and its output is checked") {
  reset_acts();
  acts().params = {{"gain", {1}}};
  acts().forward = [](sdp::Call&, const sdp_params& params, const sdp_tensor* x, sdp_tensor* y) {
    sdp::as_tensor(y).copy_(sdp::as_tensor(x) * sdp::as_tensor(params.tensor[0]));
  };
  const Model model = probe_model();
  const ParamSet params({at::ones({1}) * 3});
  const Points at = points({0, 1});
  CHECK(model.forward({params, at}, batch_of(2)).equal(batch_of(2) * 3));
  CHECK_THROWS_WITH(model.forward({params, at}, batch_of(3)),
                    "plugin \"probe\": the input has shape [3, 1, 2, 2], expected [2, 1, 2, 2]");
  set_finite_check(1);
  params.tensors()[0].fill_(std::numeric_limits<float>::infinity());
  CHECK_THROWS_WITH(model.forward({params, at}, batch_of(2)),
                    "plugin \"probe\": forward returned values that are not finite");
}

TEST_CASE("parameters in bfloat16 are refused before the plugin sees them where it does not offer them, and x always") {
  reset_acts();
  acts().params = {{"gain", {1}}};
  acts().forward = [](sdp::Call&, const sdp_params&, const sdp_tensor*, sdp_tensor*) { FAIL("the plugin was called"); };
  const Model model = probe_model();
  const Points at = points({0});
  CHECK_FALSE(model.offers(at::kBFloat16));
  const ParamSet narrow({at::ones({1}).to(at::kBFloat16)}), wide({at::ones({1})});
  CHECK_THROWS_WITH(model.forward({narrow, at}, batch_of(1)),
                    "plugin \"probe\" does not offer parameters in bfloat16; set run.precision to another");
  CHECK_THROWS_WITH(model.forward({wide, at}, batch_of(1).to(at::kBFloat16)),
                    "plugin \"probe\" does not offer this dtype; set run.precision to another");
}

TEST_CASE("a model may use the run's corruption, where the call has one, and draws per sample") {
  reset_acts();
  acts().forward = [](sdp::Call& call, const sdp_params&, const sdp_tensor* x, sdp_tensor* y) {
    const std::vector<double> level(2, 1.0);
    const std::vector<uint64_t> key(2);
    const sdp_point at = {sizeof(sdp_point), 2, level.data(), level.data(), level.data(), key.data()};
    sdp_tensor* noise = call.scratch(x);
    call.uniform(9, noise);
    call.corrupt(at, x, y);
    call.adjoint(at, y, y);
    call.lincomb(y, {1, 1}, {y, noise});
  };
  const conformance::ScaledIdentity corruption;
  const std::vector<uint64_t> samples = {11, 12};
  CallScope scope;
  scope.corruption = &corruption;
  scope.random.seed = 5;
  scope.random.purpose = Purpose::model;
  scope.random.sample = samples;
  const ParamSet params({});
  const Points at = points({0, 1});
  const at::Tensor y = probe_model().forward({params, at, scope}, batch_of(2));
  std::vector<float> noise(4);
  fill_uniform(Stream{5, Purpose::model, 12, 0, 9}, std::span<float>(noise));
  const at::Tensor expected = batch_of(2)[1].flatten() * 0.25;
  for (int64_t i = 0; i < 4; ++i)
    CHECK(y[1].flatten()[i].item<float>() == Approx(expected[i].item<float>() + noise[static_cast<size_t>(i)]));
}

TEST_CASE("what forward kept lives until the saved forward ends, and is each forward's own") {
  reset_acts();
  acts().saves = true;
  acts().forward = [](sdp::Call& call, const sdp_params&, const sdp_tensor* x, sdp_tensor* y) {
    call.lincomb(call.keep(0, x), {1}, {x});
    call.lincomb(y, {1}, {x});
  };
  acts().vjp = [](sdp::Call& call, const sdp_tensor* gy, sdp_tensor* gx, sdp_tensor* const*, uint32_t) {
    call.lincomb(gx, {1}, {call.keep(0, gy)});
  };
  const Model model = probe_model();
  const ParamSet params({});
  const Points at = points({0, 1});
  const ModelCall call = {params, at};
  {
    auto [y_a, a] = model.forward_saving(call, batch_of(2));
    auto [y_b, b] = model.forward_saving(call, batch_of(2) * 2);
    CHECK(model.vjp(call, batch_of(2), a, batch_of(2), nullptr, true, false).equal(batch_of(2)));
    CHECK(model.vjp(call, batch_of(2), b, batch_of(2), nullptr, true).equal(batch_of(2) * 2));
    SavedForward moved = std::move(a);
    CHECK(model.vjp(call, batch_of(2), moved, batch_of(2), nullptr, true).equal(batch_of(2)));
    CHECK(acts().released == 0);
  }
  CHECK(acts().released == 2);
}

TEST_CASE("vjp is asked for what is wanted and nothing else, and is told which is the last") {
  reset_acts();
  acts().params = {{"a", {1}}, {"b", {1}}};
  std::vector<std::string> asked;
  acts().vjp = [&](sdp::Call&, const sdp_tensor*, sdp_tensor* gx, sdp_tensor* const* gparams, uint32_t flags) {
    asked.push_back(std::string(gx ? "x" : "-") + (gparams[0] ? "a" : "-") + (gparams[1] ? "b" : "-") +
                    (flags & SDP_VJP_LAST ? " last" : ""));
    if (gx) sdp::as_tensor(gx).zero_();
  };
  const Model model = probe_model();
  const ParamSet params({at::ones({1}), at::ones({1})}), gradients({at::zeros({1}), at::zeros({1})});
  const Points at = points({0});
  auto [y, saved] = model.forward_saving({params, at}, batch_of(1));
  CHECK_FALSE(model.vjp({params, at}, batch_of(1), saved, batch_of(1), &gradients, false, false).defined());
  CHECK(model.vjp({params, at}, batch_of(1), saved, batch_of(1), nullptr, true).defined());
  CHECK(asked == std::vector<std::string>{"-ab", "x-- last"});
}

TEST_CASE("a forward that fails releases nothing and names itself") {
  reset_acts();
  acts().saves = true;
  acts().forward = [](sdp::Call& call, const sdp_params&, const sdp_tensor*, sdp_tensor*) {
    call.fail("no memory for this");
  };
  const ParamSet params({});
  const Points at = points({0});
  CHECK_THROWS_WITH(probe_model().forward_saving({params, at}, batch_of(1)),
                    "plugin \"probe\": forward failed: no memory for this");
  CHECK(acts().released == 0);
}
