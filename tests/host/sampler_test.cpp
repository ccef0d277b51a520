#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/ones.h>

#include <cstring>
#include <limits>

#include "core/base/error.hpp"
#include "core/base/random.hpp"
#include "tests/host/probes.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

// denoise adds 1, corrupt doubles, adjoint triples, sigma(t) = 10 t.
class ToyPath : public SamplerPath {
 public:
  const std::vector<double>& nodes() const override { return nodes_; }
  at::Tensor denoise(double, const at::Tensor& x) const override {
    if (error) std::rethrow_exception(error);
    return x + 1;
  }
  at::Tensor corrupt(double, const at::Tensor& x) const override { return 2 * x; }
  at::Tensor adjoint(double, const at::Tensor& x) const override { return 3 * x; }
  double sigma(double t) const override { return 10 * t; }
  std::exception_ptr error;

 private:
  std::vector<double> nodes_ = {0, 0.5, 1};
};

const std::vector<uint64_t> samples = {5, 6};

RandomScope random_scope() {
  RandomScope random;
  random.seed = 9;
  random.purpose = Purpose::sampler;
  random.sample = samples;
  return random;
}

at::Tensor start(at::ScalarType dtype = at::kFloat) {
  return at::arange(6, at::TensorOptions(dtype)).view({2, 1, 1, 3});
}

// x after one step that does `act`.
at::Tensor step(StepAct act, const ToyPath& path = {}, const std::atomic<bool>* cancel = nullptr) {
  reset_acts();
  acts().step = std::move(act);
  const Sampler sampler(probe(SDP_KIND_SAMPLER), {});
  SamplerRun run(sampler, path, random_scope(), start(), cancel);
  run.step(2);
  return run.x();
}

}  // namespace

TEST_CASE("a step sees the path: nodes, noise, network and corruption") {
  const at::Tensor x = step([](sdp::Call& call, const sdp::Path& path, uint32_t k, sdp_tensor* out) {
    CHECK(k == 2);
    CHECK(path.n_nodes() == 3);
    CHECK(path.time(1) == 0.5);
    CHECK(path.sigma(0.3) == 3);
    sdp_tensor* a = call.scratch(out);
    path.denoise(1, out, a);
    path.corrupt(0.5, a, a);
    path.adjoint(0.5, a, out);
  });
  CHECK(x.equal(6 * (start() + 1)));
}

TEST_CASE("a sampler's numbers depend on seed, image, node and draw") {
  const at::Tensor x = step([](sdp::Call& call, const sdp::Path&, uint32_t, sdp_tensor* out) { call.normal(1, out); });
  std::vector<float> expected(3);
  fill_normal(Stream{9, Purpose::sampler, 6, 2, 1}, std::span<float>(expected));
  CHECK(std::memcmp(x[1].const_data_ptr(), expected.data(), 12) == 0);
}

TEST_CASE("a sampler remembers tensors from step to step, and only within its run") {
  reset_acts();
  acts().step = [](sdp::Call& call, const sdp::Path&, uint32_t, sdp_tensor* x) {
    sdp_tensor* sum = call.keep(1, x);
    call.lincomb(sum, {1, 1}, {sum, x});
    call.lincomb(x, {1}, {sum});
  };
  const ToyPath path;
  const Sampler sampler(probe(SDP_KIND_SAMPLER), {});
  for (int i = 0; i < 2; ++i) {
    SamplerRun run(sampler, path, random_scope(), start());
    run.step(2);
    CHECK(run.x().equal(start()));
    run.step(1);
    CHECK(run.x().equal(2 * start()));
  }
}

TEST_CASE("an error of the network reaches the caller as it was") {
  ToyPath path;
  path.error = std::make_exception_ptr(RunError("the network failed"));
  const auto ask = [](sdp::Call&, const sdp::Path& p, uint32_t, sdp_tensor* x) { p.denoise(1, x, x); };
  CHECK_THROWS_WITH(step(ask, path), "the network failed");
  CHECK_THROWS_AS(step(ask, path), RunError);
  path.error = std::make_exception_ptr(Cancelled());
  CHECK_THROWS_AS(step(ask, path), Cancelled);
}

TEST_CASE("a sampler that goes on after an error of the network is told on") {
  ToyPath path;
  path.error = std::make_exception_ptr(RunError("the network failed"));
  const auto swallow = [](sdp::Call&, const sdp::Path& p, uint32_t, sdp_tensor* x) {
    try {
      p.denoise(1, x, x);
    } catch (const sdp::PassedOn&) {
    }
  };
  CHECK_THROWS_WITH(step(swallow, path),
                    "plugin \"probe\": step went on as if nothing were wrong after this error: the network failed");
  path.error = std::make_exception_ptr(Cancelled());
  CHECK_THROWS_AS(step(swallow, path), Cancelled);
}

TEST_CASE("a sampler that is told to stop ends in Cancelled") {
  const std::atomic<bool> cancel{true};
  CHECK_THROWS_AS(
      step([](sdp::Call& call, const sdp::Path&, uint32_t, sdp_tensor*) { call.stop_if_cancelled(); }, {}, &cancel),
      Cancelled);
}

TEST_CASE("memory that does not fit a result is refused") {
  CHECK_THROWS_WITH(
      step([](sdp::Call& call, const sdp::Path& path, uint32_t, sdp_tensor* x) {
        path.denoise(1, x, call.scratch({2, 3}, x));
      }),
      "plugin \"probe\": step failed: the output has shape [2, 3], expected [2, 1, 1, 3] and the dtype of the input");
}

TEST_CASE("values that are not finite are refused with the sampler's name") {
  set_finite_check(1);
  CHECK_THROWS_WITH(step([](sdp::Call& call, const sdp::Path&, uint32_t, sdp_tensor* x) {
                      call.lincomb(x, {std::numeric_limits<double>::infinity()}, {x});
                    }),
                    "plugin \"probe\": step returned values that are not finite");
}

TEST_CASE("every n-th step is looked at, and a sampler is not to blame for values that it was given") {
  reset_acts();
  set_finite_check(2);
  double value = std::numeric_limits<double>::infinity();
  acts().step = [&](sdp::Call&, const sdp::Path&, uint32_t, sdp_tensor* x) { sdp::as_tensor(x).fill_(value); };
  const ToyPath path;
  const Sampler sampler(probe(SDP_KIND_SAMPLER), {});
  SamplerRun run(sampler, path, random_scope(), start());
  CHECK_THROWS_AS(run.step(2), PluginFailure);
  CHECK_NOTHROW(run.step(2));  // not looked at
  CHECK_NOTHROW(run.step(2));  // looked at, but it was given infinity
  value = 0;
  CHECK_NOTHROW(run.step(2));
  value = std::numeric_limits<double>::infinity();
  CHECK_THROWS_AS(run.step(2), PluginFailure);
  set_finite_check(1);
}

TEST_CASE("a sampler for float32 alone is not given float64") {
  const ToyPath path;
  const Sampler sampler(narrow_sampler(), {});
  CHECK_NOTHROW(SamplerRun(sampler, path, random_scope(), start()));
  CHECK_THROWS_WITH(SamplerRun(sampler, path, random_scope(), start(at::kDouble)),
                    "plugin \"narrow\" does not offer float64; set run.precision to another");
}
