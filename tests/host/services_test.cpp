#include "core/host/arithmetic.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <cstring>
#include <set>
#include <utility>

#include "core/base/random.hpp"
#include "tests/host/probes.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const SampleShape shape = {1, 2, 5};

at::Tensor input(int64_t batch, at::ScalarType dtype = at::kFloat) {
  return at::arange(batch * 10, at::TensorOptions(dtype)).view({batch, 1, 2, 5});
}

// y of the probe's apply, which does `act`: zero where that writes nothing, or it would be whatever the memory held.
at::Tensor apply(ApplyAct act, int64_t batch = 3, at::ScalarType dtype = at::kFloat) {
  reset_acts();
  acts().apply = [act = std::move(act)](sdp::Call& call, const sdp::Point& at, const sdp_tensor* x, sdp_tensor* y) {
    sdp::as_tensor(y).zero_();
    act(call, at, x, y);
  };
  return make_plugin_corruption(probe(SDP_KIND_CORRUPTION), {}, shape)
      ->apply(points(std::vector<double>(static_cast<size_t>(batch), 0.5)), input(batch, dtype));
}

}  // namespace

TEST_CASE("the host tells its version and the size of its table") {
  const sdp_host& host = host_services();
  CHECK(host.struct_size == sizeof(sdp_host));
  CHECK(host.abi_major == 1);
  CHECK(host.abi_minor == 0);
  CHECK(std::string(host.name) == "sdpipe");
  CHECK(std::string(host.version) == "0.1.0");
  CHECK(host.extension("nobody.knows/1") == nullptr);
}

TEST_CASE("lincomb with noise is lincomb with what random draws, also where the host does not offer it in one pass") {
  const auto noisy = [](bool by_extension) {
    return apply([=](sdp::Call& call, const sdp::Point&, const sdp_tensor* x, sdp_tensor* y) {
      if (by_extension) return call.lincomb_with_noise(y, {0.5}, {x}, 0.25, 7);
      sdp_tensor* eta = call.scratch(x);
      call.normal(7, eta);
      call.lincomb(y, {0.5, 0.25}, {x, eta});
    });
  };
  CHECK(noisy(true).equal(noisy(false)));
  static sdp_host without = host_services();
  without.extension = [](const char*) noexcept -> const void* { return nullptr; };
  const sdp_host* const before = std::exchange(sdp::detail::host, &without);
  const at::Tensor in_two = noisy(true);
  sdp::detail::host = before;
  CHECK(in_two.equal(noisy(false)));
}

TEST_CASE("inside apply and adjoint a number depends on key, draw and element alone") {
  const auto draw = [](uint32_t number) {
    return [=](sdp::Call& call, const sdp::Point&, const sdp_tensor*, sdp_tensor* y) { call.normal(number, y); };
  };
  const at::Tensor y = apply(draw(5));
  for (uint32_t b = 0; b < 3; ++b) {
    std::vector<float> expected(10);
    fill_normal(Stream{100 + b, Purpose::corruption, 0, 0, 5}, std::span<float>(expected));
    CHECK(std::memcmp(y[b].const_data_ptr(), expected.data(), 40) == 0);
  }
  CHECK(apply(draw(5), 1)[0].equal(y[0]));
  CHECK_FALSE(apply(draw(6)).equal(y));
  acts().adjoint = draw(5);
  CHECK(make_plugin_corruption(probe(SDP_KIND_CORRUPTION), {}, shape)->adjoint(points({0, 0.1, 1}), input(3)).equal(y));
}

TEST_CASE("uniform numbers come from the same stream") {
  const at::Tensor y =
      apply([](sdp::Call& call, const sdp::Point&, const sdp_tensor*, sdp_tensor* out) { call.uniform(2, out); }, 2,
            at::kDouble);
  std::vector<double> expected(10);
  fill_uniform(Stream{101, Purpose::corruption, 0, 0, 2}, std::span<double>(expected));
  CHECK(std::memcmp(y[1].const_data_ptr(), expected.data(), 80) == 0);
}

TEST_CASE("outside apply a number depends on seed, purpose, sample, step and draw, not on its place in the batch") {
  const std::vector<uint64_t> whole = {7, 1, 9}, part = {9};
  RandomScope scope;
  scope.seed = 3;
  scope.purpose = Purpose::sampler;
  scope.step = 4;
  scope.sample = whole;
  at::Tensor a = at::empty({3, 2}), b = at::empty({1, 2});
  scope.fill(SDP_NORMAL, 1, a);
  scope.sample = part;
  scope.fill(SDP_NORMAL, 1, b);
  CHECK(b[0].equal(a[2]));
  std::vector<float> expected(2);
  fill_normal(Stream{3, Purpose::sampler, 9, 4, 1}, std::span<float>(expected));
  CHECK(std::memcmp(b.const_data_ptr(), expected.data(), 8) == 0);
}

TEST_CASE("a replacement stands in for the numbers where it wants to") {
  std::function<bool(uint32_t, uint32_t, at::Tensor&)> replace = [](uint32_t step, uint32_t draw, at::Tensor& out) {
    if (draw != 1) return false;
    out.fill_(static_cast<double>(step));
    return true;
  };
  const std::vector<uint64_t> samples = {0};
  RandomScope scope;
  scope.step = 6;
  scope.sample = samples;
  at::Tensor plain = at::empty({1, 4}), seen = at::empty({1, 4});
  scope.fill(SDP_NORMAL, 0, plain);
  scope.replacement = &replace;
  scope.fill(SDP_NORMAL, 0, seen);
  CHECK(seen.equal(plain));
  scope.fill(SDP_NORMAL, 1, seen);
  CHECK(seen.equal(at::ones({1, 4}) * 6));
}

TEST_CASE("misuse of random is refused in words that name the plugin") {
  const auto with = [](int32_t distribution, uint32_t draw, int64_t rows) {
    return [=](sdp::Call& call, const sdp::Point&, const sdp_tensor* x, sdp_tensor*) {
      sdp_tensor* out = call.scratch({rows, 4}, x);
      sdp::check(host_services().random(call.raw(), distribution, draw, out));
    };
  };
  CHECK_NOTHROW(apply(with(SDP_NORMAL, 4095, 3)));
  CHECK_THROWS_WITH(apply(with(SDP_NORMAL, 4096, 3)),
                    "plugin \"probe\": apply failed: host->random: draw must be below 4096");
  CHECK_THROWS_WITH(apply(with(2, 0, 3)), "plugin \"probe\": apply failed: host->random: unknown distribution");
  CHECK_THROWS_WITH(
      apply(with(SDP_NORMAL, 0, 4)),
      "plugin \"probe\": apply failed: host->random: axis 0 of out must be the batch of this call, 3 samples, not 4");
}

TEST_CASE("scratch memory is aligned, contiguous, of the wanted shape, and no two pieces overlap") {
  std::set<void*> seen;
  apply([&](sdp::Call& call, const sdp::Point&, const sdp_tensor* x, sdp_tensor* y) {
    for (int i = 0; i < 20; ++i) {
      sdp_tensor* s = i % 2 ? call.scratch(x) : call.scratch({3, 7}, x);
      CHECK(reinterpret_cast<uintptr_t>(s->data) % 64 == 0);
      CHECK(s->ndim == (i % 2 ? 4 : 2));
      CHECK(s->shape[0] == 3);
      CHECK(s->strides[0] == (i % 2 ? 10 : 7));
      CHECK(s->strides[s->ndim - 1] == 1);
      CHECK(s->dtype_bits == x->dtype_bits);
      CHECK(s->device_type == SDP_DEVICE_CPU);
      CHECK(s->data != x->data);
      CHECK(s->data != y->data);
      seen.insert(s->data);
    }
  });
  CHECK(seen.size() == 20);
}

TEST_CASE("lincomb is a weighted sum in one pass, also into one of its inputs") {
  const at::Tensor x = input(3);
  CHECK(apply([](sdp::Call& call, const sdp::Point&, const sdp_tensor* in, sdp_tensor* y) {
          call.lincomb(y, {2}, {in});
          call.lincomb(y, {0.5, -3, 1}, {in, y, in});
        }).equal(0.5 * x - 6 * x + x));
  CHECK(apply([](sdp::Call& call, const sdp::Point&, const sdp_tensor*, sdp_tensor* y) {
          call.lincomb(y, {}, {});
        }).equal(at::zeros_like(x)));
}

TEST_CASE("lincomb is exact on tensors that are split between threads") {
  const at::Tensor x = at::arange(1 << 18, at::TensorOptions(at::kDouble)),
                   y = at::ones(1 << 18, at::TensorOptions(at::kDouble));
  at::Tensor out = at::empty_like(x);
  const double coef[] = {0.25, -2};
  const at::Tensor inputs[] = {x, y};
  lincomb(out, coef, inputs);
  CHECK(out.equal(0.25 * x - 2 * y));
}

TEST_CASE("lincomb refuses tensors that do not fit") {
  CHECK_THROWS_WITH(
      apply([](sdp::Call& call, const sdp::Point&, const sdp_tensor* x, sdp_tensor* y) {
        call.lincomb(y, {1}, {call.scratch({3, 9}, x)});
      }),
      "plugin \"probe\": apply failed: host->lincomb: all tensors must be contiguous, of one shape, dtype and device");
  at::Tensor out = at::empty({2, 3});
  const double coef[] = {1};
  const at::Tensor turned[] = {at::ones({3, 2}).t()};
  CHECK_THROWS_AS(lincomb(out, coef, turned), std::invalid_argument);
}

TEST_CASE("what a call does not offer is refused with the service's name, and a plugin may do without") {
  const auto asking = [](std::function<sdp_status(sdp_ctx*, const sdp::Point&, const sdp_tensor*, sdp_tensor*)> ask) {
    return [=](sdp::Call& call, const sdp::Point& at, const sdp_tensor* x, sdp_tensor* y) {
      sdp::check(ask(call.raw(), at, x, y));
    };
  };
  const sdp_host& host = host_services();
  CHECK_THROWS_WITH(apply(asking([&](sdp_ctx* ctx, const sdp::Point& at, const sdp_tensor* x, sdp_tensor* y) {
                      return host.corrupt(ctx, &at, x, y);
                    })),
                    "plugin \"probe\": apply failed: host->corrupt is not offered in this call");
  CHECK_THROWS_WITH(apply(asking([&](sdp_ctx* ctx, const sdp::Point& at, const sdp_tensor* x, sdp_tensor* y) {
                      return host.adjoint(ctx, &at, x, y);
                    })),
                    "plugin \"probe\": apply failed: host->adjoint is not offered in this call");
  CHECK_THROWS_WITH(apply(asking([&](sdp_ctx* ctx, const sdp::Point&, const sdp_tensor* x, sdp_tensor*) {
                      sdp_tensor* out = nullptr;
                      return host.keep(ctx, 0, x, &out);
                    })),
                    "plugin \"probe\": apply failed: host->keep is not offered in this call");
  CHECK_NOTHROW(apply([&](sdp::Call& call, const sdp::Point& at, const sdp_tensor* x, sdp_tensor* y) {
    CHECK(host.corrupt(call.raw(), &at, x, y) == SDP_E_UNSUPPORTED);
    CHECK(host.cancelled(call.raw()) == 0);
    CHECK(host.stream(call.raw()) == nullptr);
    host.progress(call.raw(), 0.5);
    call.lincomb(y, {1}, {x});
  }));
}

TEST_CASE("a plugin's reason and the parameter that it names reach the person who reads") {
  const auto failing = [](std::function<void(sdp::Call&)> f) {
    return [=](sdp::Call& call, const sdp::Point&, const sdp_tensor*, sdp_tensor*) { f(call); };
  };
  CHECK_THROWS_WITH(apply(failing([](sdp::Call& call) { call.fail("must exceed std_min", "std_max"); })),
                    "plugin \"probe\": apply failed: must exceed std_min (parameter \"std_max\")");
  try {
    apply(failing([](sdp::Call& call) { call.fail("must exceed std_min", "std_max"); }));
  } catch (const PluginFailure& e) {
    CHECK(e.param == "std_max");
    CHECK(e.code() == Exit::plugin);
  }
  CHECK_THROWS_WITH(apply(failing([](sdp::Call& call) { call.fail("no such device", "", SDP_E_DEVICE); })),
                    "plugin \"probe\": apply failed: no such device");
  CHECK_THROWS_WITH(apply(failing([](sdp::Call&) { throw sdp::PassedOn{SDP_E_DEVICE}; })),
                    "plugin \"probe\": apply failed: status 5 without a reason");
  CHECK_THROWS_WITH(apply(failing([](sdp::Call&) { throw std::runtime_error("an ordinary exception"); })),
                    "plugin \"probe\": apply failed: an ordinary exception");
  CHECK_THROWS_WITH(apply(failing([](sdp::Call&) { throw std::bad_alloc(); })),
                    "plugin \"probe\": apply failed: out of memory");
  CHECK_THROWS_WITH(apply(failing([](sdp::Call&) { throw 7; })),
                    "plugin \"probe\": apply failed: an unknown exception was thrown");
}

TEST_CASE("an error of the host that a plugin keeps to itself surfaces all the same") {
  sdp_status told = SDP_OK;
  std::string text;
  try {
    apply([&](sdp::Call& call, const sdp::Point&, const sdp_tensor* x, sdp_tensor* y) {
      int64_t too_many[] = {int64_t{1} << 60}, stride[] = {1};
      sdp_tensor huge = *x;
      huge.ndim = 1;
      huge.shape = too_many;
      huge.strides = stride;
      sdp_tensor* out = nullptr;
      told = host_services().scratch(call.raw(), &huge, &out);
      call.lincomb(y, {1}, {x});
    });
  } catch (const PluginFailure& e) {
    text = e.what();
  }
  CHECK(told == SDP_E_INTERNAL);
  CHECK(text.starts_with("plugin \"probe\": apply went on as if nothing were wrong after this error: "));
}

TEST_CASE("progress and log reach the host, and what goes wrong there is thrown after the call") {
  sdp_ctx context("probe");
  std::vector<double> seen;
  context.scope.progress = [&](double fraction) {
    seen.push_back(fraction);
    if (fraction == 1) throw std::runtime_error("the disk is full");
  };
  const sdp_host& host = host_services();
  host.progress(&context, 0.25);
  CHECK_NOTHROW(context.require(SDP_OK, "fit"));
  host.progress(&context, 1);
  CHECK(seen == std::vector<double>{0.25, 1});
  CHECK_THROWS_WITH(context.require(SDP_OK, "fit"), "the disk is full");
  CHECK_NOTHROW(context.require(SDP_OK, "fit"));
}

TEST_CASE("the plugin that a thread is in is the innermost") {
  CHECK(plugin_of_this_thread() == nullptr);
  {
    const sdp_ctx outer("sampler");
    {
      const sdp_ctx inner("model");
      CHECK(std::string(plugin_of_this_thread()) == "model");
    }
    CHECK(std::string(plugin_of_this_thread()) == "sampler");
  }
  CHECK(plugin_of_this_thread() == nullptr);
}

TEST_CASE("a plugin that stops because it was told to ends in Cancelled; one that stops by itself has failed") {
  std::atomic<bool> cancel{true};
  sdp_ctx context("probe");
  context.scope.cancel = &cancel;
  CHECK(host_services().cancelled(&context) == 1);
  CHECK_THROWS_AS(context.require(SDP_E_CANCELLED, "step"), Cancelled);
  cancel = false;
  CHECK(host_services().cancelled(&context) == 0);
  CHECK_THROWS_WITH(context.require(SDP_E_CANCELLED, "step"),
                    "plugin \"probe\": step failed: status 4 without a reason");
}

TEST_CASE("kept tensors begin as zeros, keep their contents and their shape") {
  Kept kept;
  const at::Tensor like = at::ones({2, 3});
  const sdp::TensorView view(like);
  sdp_tensor* slot = kept.get(4, *view.get());
  CHECK(sdp::as_tensor(slot).equal(at::zeros({2, 3})));
  sdp::as_tensor(slot).fill_(5);
  CHECK(kept.get(4, *view.get()) == slot);
  CHECK(sdp::as_tensor(kept.get(4, *view.get())).equal(at::ones({2, 3}) * 5));
  CHECK(kept.get(5, *view.get())->data != slot->data);
  const sdp::TensorView other(at::ones({3, 2}));
  CHECK_THROWS_WITH(kept.get(4, *other.get()), "host->keep: slot 4 has another shape");
}
