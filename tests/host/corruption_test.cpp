#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <limits>

#include "core/base/random.hpp"
#include "core/host/conformance/measure.hpp"
#include "core/host/discovery.hpp"
#include "tests/broken_plugins/broken.hpp"
#include "tests/host/probes.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;
using conformance::random_batch;

namespace {

const SampleShape shape = {1, 4, 4};

std::unique_ptr<Corruption> probe_corruption() { return make_plugin_corruption(probe(SDP_KIND_CORRUPTION), {}, shape); }

at::Tensor batch_of(int64_t n, at::ScalarType dtype = at::kFloat) { return random_batch(n, shape, dtype, 1); }

const Plugin& loaded(const std::string& file, const std::string& id) {
  static std::deque<Plugin> kept;
  for (Plugin& p : load_library(file)) {
    if (p.id() == id) return kept.emplace_back(p);
  }
  throw std::logic_error("no plugin " + id);
}

// x[i] + level * 0.5 * x[i - 1]: neither symmetric nor commuting with a mask.
const Plugin& circle() { return loaded(broken_plugin("broken_corruptions"), "sound"); }
const Plugin& mask() { return loaded(SDPIPE_BUILD_DIR "/plugins/pixel_mask.sdp.so", "pixel_mask"); }

}  // namespace

TEST_CASE("the face passes levels, keys and values through, in float32 and float64") {
  reset_acts();
  acts().apply = [](sdp::Call&, const sdp::Point& at, const sdp_tensor* x, sdp_tensor* y) {
    CHECK(at.struct_size == sizeof(sdp_point));
    CHECK(at.batch == 2);
    CHECK(at.level[1] == 0.75);
    CHECK(at.key[1] == 101);
    CHECK(x->shape[0] == 2);
    CHECK(x->byte_offset == 0);
    sdp::as_tensor(y).copy_(sdp::as_tensor(x) * at.level[1]);
  };
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const at::Tensor x = batch_of(2, dtype), y = probe_corruption()->apply(points({0, 0.75}), x);
    CHECK(y.equal(x * 0.75));
    CHECK(y.scalar_type() == dtype);
  }
  CHECK(probe_corruption()->level_unit() == "px");
}

TEST_CASE("a plugin's input is aligned and contiguous, whatever tensor the caller has") {
  reset_acts();
  acts().apply = [](sdp::Call&, const sdp::Point&, const sdp_tensor* x, sdp_tensor* y) {
    CHECK(reinterpret_cast<uintptr_t>(x->data) % 64 == 0);
    CHECK(reinterpret_cast<uintptr_t>(y->data) % 64 == 0);
    sdp::as_tensor(y).copy_(sdp::as_tensor(x));
  };
  const at::Tensor odd = at::arange(33, at::TensorOptions(at::kFloat)).slice(0, 1).view({2, 1, 4, 4});
  REQUIRE(reinterpret_cast<uintptr_t>(odd.const_data_ptr()) % 64 != 0);
  CHECK(probe_corruption()->apply(points({0, 1}), odd).equal(odd));
  const at::Tensor turned = batch_of(2).transpose(2, 3);
  CHECK(probe_corruption()->apply(points({0, 1}), turned).equal(turned));
}

TEST_CASE("what does not fit is refused before the plugin sees it") {
  reset_acts();
  acts().apply = [](sdp::Call&, const sdp::Point&, const sdp_tensor*, sdp_tensor*) { FAIL("the plugin was called"); };
  const auto c = probe_corruption();
  CHECK_THROWS_WITH(c->apply(points({0, 0}), batch_of(3)),
                    "plugin \"probe\": the input has shape [3, 1, 4, 4], expected [2, 1, 4, 4]");
  CHECK_THROWS_WITH(c->apply(points({0}), at::ones({1, 16})),
                    "plugin \"probe\": the input has shape [1, 16], expected [1, 1, 4, 4]");
  CHECK_THROWS_WITH(c->apply(points({0}), batch_of(1).to(at::kHalf)),
                    "plugin \"probe\" does not offer this dtype; set run.precision to another");
  CHECK_THROWS_WITH(c->apply(points({1.01}), batch_of(1)), "plugin \"probe\": level 1.01 is outside 0 to 1");
  CHECK_THROWS_WITH(c->apply(points({-0.5}), batch_of(1)), "plugin \"probe\": level -0.5 is outside 0 to 1");
  CHECK_THROWS_WITH(c->apply(points({std::numeric_limits<double>::quiet_NaN()}), batch_of(1)),
                    "plugin \"probe\": level nan is outside 0 to 1");
}

TEST_CASE("a plugin for float32 alone is not given float64") {
  const auto c = make_plugin_corruption(loaded(broken_plugin("sound"), "other_fade"), {}, shape);
  CHECK_NOTHROW(c->apply(points({0.5}), batch_of(1)));
  CHECK_THROWS_WITH(c->apply(points({0.5}), batch_of(1, at::kDouble)),
                    "plugin \"other_fade\" does not offer float64; set run.precision to another");
}

TEST_CASE("values that are not finite are refused with the plugin's name, in every n-th output of each function") {
  reset_acts();
  set_finite_check(2);
  const auto spoil = [](sdp::Call&, const sdp::Point&, const sdp_tensor*, sdp_tensor* y) {
    sdp::as_tensor(y).fill_(std::numeric_limits<double>::infinity());
  };
  acts().adjoint = spoil;
  const auto c = probe_corruption();
  // A loop that calls both in turn: apply's sound outputs must not use up the checks of adjoint's.
  c->apply(points({0}), batch_of(1));
  CHECK_THROWS_WITH(c->adjoint(points({0}), batch_of(1)),
                    "plugin \"probe\": adjoint returned values that are not finite");
  c->apply(points({0}), batch_of(1));
  CHECK_NOTHROW(c->adjoint(points({0}), batch_of(1)));
  CHECK_THROWS_AS(c->adjoint(points({0}), batch_of(1)), PluginFailure);
  set_finite_check(1);
}

TEST_CASE("a largest level that is not positive and finite is refused") {
  reset_acts();
  acts().level_max = 0;
  CHECK_THROWS_WITH(probe_corruption(), "plugin \"probe\": level_max is 0, it must be positive and finite");
  acts().level_max = std::numeric_limits<double>::infinity();
  CHECK_THROWS_WITH(probe_corruption(), "plugin \"probe\": level_max is inf, it must be positive and finite");
}

TEST_CASE("a plugin that cannot be created says why, and which parameter is at fault") {
  const Plugin& plugin = loaded(broken_plugin("broken_corruptions"), "no_create");
  try {
    make_plugin_corruption(plugin, default_settings(plugin.schema), shape);
    FAIL("it was created");
  } catch (const PluginFailure& e) {
    CHECK(std::string(e.what()) ==
          "plugin \"no_create\": create failed: cannot be made with this strength (parameter \"strength\")");
    CHECK(e.param == "strength");
  }
}

TEST_CASE("one operator is itself, in its own unit") {
  const Settings settings = default_settings(circle().schema);
  const CorruptionPart part[] = {{&circle(), &settings}};
  CHECK(make_corruption(part, shape)->level_max() == 2);
}

TEST_CASE("a composition applies its operators in order, each with its window of u and a key of its own") {
  const Settings of_circle = default_settings(circle().schema), of_mask = default_settings(mask().schema);
  const CorruptionPart parts[] = {{&circle(), &of_circle, 0, 0.5}, {&mask(), &of_mask, 0.25, 1}};
  const auto c = make_corruption(parts, shape);
  CHECK(c->level_max() == 1);
  CHECK(c->level_unit() == "");
  const auto first = make_plugin_corruption(circle(), of_circle, shape),
             second = make_plugin_corruption(mask(), of_mask, shape);
  const Points at = points({0, 0.2, 0.4, 0.7, 1});
  Points at_first = at, at_second = at;
  at_first.level = {0, 0.4 * 2, 0.8 * 2, 2, 2};
  for (size_t b = 0; b < 5; ++b) {
    at_second.level[b] = std::max(0.0, (at.level[b] - 0.25) / 0.75) * second->level_max();
    at_first.key[b] = random_bits({at.key[b], Purpose::key, 0});
    at_second.key[b] = random_bits({at.key[b], Purpose::key, 1});
  }
  const at::Tensor x = batch_of(5, at::kDouble);
  CHECK(c->apply(at, x).equal(second->apply(at_second, first->apply(at_first, x))));
  CHECK(c->adjoint(at, x).equal(first->adjoint(at_first, second->adjoint(at_second, x))));
  CHECK_FALSE(c->apply(at, x).equal(first->apply(at_first, second->apply(at_second, x))));
}

TEST_CASE("a composition keeps the laws: identity at 0, and the adjoint with other levels and keys in one batch") {
  const Settings of_circle = default_settings(circle().schema), of_mask = default_settings(mask().schema);
  const CorruptionPart parts[] = {
      {&mask(), &of_mask, 0, 0.6}, {&circle(), &of_circle, 0.3, 1}, {&circle(), &of_circle, 0, 1}};
  const auto c = make_corruption(parts, shape);
  const Points at = conformance::mixed_points(7, 1);
  const at::Tensor x = batch_of(7, at::kDouble), y = random_batch(7, shape, at::kDouble, 2);
  const at::Tensor cx = c->apply(at, x), cty = c->adjoint(at, y);
  for (int64_t b = 0; b < 7; ++b) {
    const double size = conformance::norm(x[b]) * conformance::norm(y[b]);
    CHECK(conformance::dot(cx[b], y[b]) / size == Approx(conformance::dot(x[b], cty[b]) / size).margin(1e-14));
  }
  CHECK(c->apply(points(std::vector<double>(7, 0.0)), x).equal(x));
}
