// flat_norm and fused_step. tests/training/optimizer_test.cpp holds the CPU to the equations one number at a time.
#include "core/training/optimizer.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/kernels/devices.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

// Around the sizes of a warp, of a block of threads and of a block of the norm.
const std::vector<int64_t> sizes = {0, 1, 31, 255, 256, 257, 16383, 16384, 16385, 5 * 16384 + 77, 300 * 16384 + 1};

OptimizerOptions options() {
  OptimizerOptions o;
  o.beta1 = 0.9;
  o.beta2 = 0.99;
  o.clip_norm = 1;
  o.ema_decay = 0.9;
  return o;
}

struct State {
  at::Tensor p, ema;
  Moments moments;
};

State begun(const at::Tensor& p) { return {p.clone(), p.clone(), {at::zeros_like(p), at::zeros_like(p)}}; }

constexpr double lr = 0.01;

// The equations of optimizer.hpp in float64, by tensor operators.
void reference_step(State& s, const at::Tensor& gradient, int64_t step) {
  const OptimizerOptions o = options();
  const double n = static_cast<double>(step), d = std::min(o.ema_decay, (1 + n) / (10 + n));
  const at::Tensor g = gradient * std::min(1.0, o.clip_norm / std::sqrt(gradient.square().sum().item<double>()));
  s.moments.m = s.moments.m * o.beta1 + g * (1 - o.beta1);
  s.moments.v = s.moments.v * o.beta2 + g.square() * (1 - o.beta2);
  const at::Tensor root = (s.moments.v / (1 - std::pow(o.beta2, n))).sqrt() + 1e-8;
  s.p = s.p - s.moments.m / (1 - std::pow(o.beta1, n)) / root * lr;
  s.ema = s.ema * d + s.p * (1 - d);
}

// Relative, but for numbers below 1.
double worst(const at::Tensor& x, const at::Tensor& exact) {
  return ((on_cpu(x) - exact).abs() / exact.abs().clamp_min(1)).max().item<double>();
}

}  // namespace

TEST_CASE("the norm is exact for whole numbers on every device, whatever the size") {
  for (const at::Device device : devices()) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      for (const int64_t n : sizes) {
        CAPTURE(device.str(), dtype, n);
        const at::Tensor x = at::randint(-9, 10, {n}, at::kDouble);
        CHECK(flat_norm(x.to(on(device, dtype))) == std::sqrt(x.square().sum().item<double>()));
      }
    }
  }
}

TEST_CASE("the norm is the same bits every time, right to rounding in float64, on every device") {
  for (const at::Device device : devices()) {
    const at::Tensor x = at::randn({3 * 16384 + 5}, at::kDouble), there = x.to(on(device, at::kFloat));
    const double norm = flat_norm(there), exact = on_cpu(there).square().sum().sqrt().item<double>();
    CHECK(norm == Approx(exact).epsilon(1e-14));
    for (int repeat = 0; repeat < 5; ++repeat) CHECK(flat_norm(there) == norm);
  }
}

TEST_CASE("the norm is not finite where an element is not, on every device") {
  constexpr double infinity = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  for (const at::Device device : devices()) {
    for (const int64_t place : {0, 255, 16384, 49999}) {
      at::Tensor x = at::zeros({50000}, on(device, at::kFloat));
      x.narrow(0, place, 1).fill_(nan);
      CHECK(std::isnan(flat_norm(x)));
      x.narrow(0, place, 1).fill_(infinity);
      CHECK(std::isinf(flat_norm(x)));
    }
  }
}

TEST_CASE("steps of the optimizer are those of the equations on every device, whatever the size") {
  for (const at::Device device : devices()) {
    for (const auto& [dtype, tolerance] : {std::pair(at::kDouble, 1e-14), {at::kFloat, 1e-6}}) {
      for (const int64_t n : {int64_t{1}, int64_t{255}, int64_t{257}, int64_t{16385}, int64_t{70001}}) {
        CAPTURE(device.str(), dtype, n);
        State state = begun(at::randn({n}, on(device, dtype)));
        State reference = begun(on_cpu(state.p));
        for (int64_t step = 1; step <= 5; ++step) {
          const at::Tensor g = at::randn({n}, on(device, dtype)) * (step % 2 == 0 ? 1e-4 : 10);  // clipped and not
          fused_step(state.p, g, flat_norm(g), state.moments, state.ema, options(), lr, step);
          reference_step(reference, on_cpu(g), step);
        }
        CHECK(worst(state.p, reference.p) < tolerance);
        CHECK(worst(state.ema, reference.ema) < tolerance);
        CHECK(worst(state.moments.m, reference.moments.m) < tolerance);
        CHECK(worst(state.moments.v, reference.moments.v) < tolerance);
      }
    }
  }
}

// A gradient that stays the same has moments that are it and its square, and every step is lr long.
TEST_CASE("early steps in float32 are as long as those in double, although it rounds the betas") {
  OptimizerOptions o;
  for (const at::Device device : devices()) {
    State state = begun(at::zeros({3}, on(device, at::kFloat)));
    const at::Tensor g = at::zeros({3}, on(device, at::kFloat)) + 0.25;
    for (int64_t step = 1; step <= 10; ++step) {
      fused_step(state.p, g, flat_norm(g), state.moments, state.ema, o, lr, step);
      const double length = -static_cast<double>(step) * lr;
      CAPTURE(device.str(), step);
      CHECK((on_cpu(state.p) / length - 1).abs().max().item<double>() < 1e-6);
    }
  }
}
