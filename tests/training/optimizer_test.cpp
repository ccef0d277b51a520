#include "core/training/optimizer.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros_like.h>

#include <cmath>
#include <limits>

#include "tests/diffusion/setup.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

OptimizerOptions options() {
  OptimizerOptions o;
  o.learning_rate = 0.01;
  o.beta1 = 0.9;
  o.beta2 = 0.99;
  o.clip_norm = 1;
  o.ema_decay = 0.9;
  return o;
}

struct State {
  explicit State(int64_t n, at::ScalarType dtype)
      : p(noise({n}, 1, dtype)), ema(p.clone()), moments{at::zeros_like(p), at::zeros_like(p)} {}
  void step(const at::Tensor& gradient, const OptimizerOptions& o, int64_t n) {
    fused_step(p, gradient, flat_norm(gradient), moments, ema, o, o.learning_rate, n);
  }
  at::Tensor p, ema;
  Moments moments;
};

at::Tensor gradient_at(int64_t n, uint64_t step, at::ScalarType dtype) {
  return noise({n}, 100 + step, dtype) * (step % 3 == 0 ? 10 : 0.01);
}

// The header's equations in double, one number at a time.
struct Reference {
  std::vector<double> p, m, v, ema;
  void step(const std::vector<double>& g, const OptimizerOptions& o, double n) {
    double square = 0;
    for (const double x : g) square += x * x;
    const double scale = std::min(1.0, o.clip_norm / std::sqrt(square)), d = std::min(o.ema_decay, (1 + n) / (10 + n));
    for (size_t i = 0; i < g.size(); ++i) {
      m[i] = o.beta1 * m[i] + (1 - o.beta1) * scale * g[i];
      v[i] = o.beta2 * v[i] + (1 - o.beta2) * scale * g[i] * scale * g[i];
      p[i] -=
          o.learning_rate * (m[i] / (1 - std::pow(o.beta1, n))) / (std::sqrt(v[i] / (1 - std::pow(o.beta2, n))) + 1e-8);
      ema[i] = d * ema[i] + (1 - d) * p[i];
    }
  }
};

double worst(const at::Tensor& x, const std::vector<double>& reference) {
  const std::vector<double> values = numbers(x);
  double difference = 0;
  for (size_t i = 0; i < values.size(); ++i) difference = std::max(difference, std::abs(values[i] - reference[i]));
  return difference;
}

}  // namespace

TEST_CASE("fifty steps are those of the equations, in float64 and in float32") {
  const int64_t n = 200;
  for (const auto& [dtype, tolerance] : {std::pair(at::kDouble, 1e-13), {at::kFloat, 2e-6}}) {
    State state(n, dtype);
    const std::vector<double> zeros(static_cast<size_t>(n));
    Reference reference{numbers(state.p), zeros, zeros, numbers(state.p)};
    for (int64_t k = 1; k <= 50; ++k) {
      const at::Tensor g = gradient_at(n, static_cast<uint64_t>(k), dtype);
      state.step(g, options(), k);
      reference.step(numbers(g), options(), static_cast<double>(k));
    }
    CHECK(worst(state.p, reference.p) < tolerance);
    CHECK(worst(state.ema, reference.ema) < tolerance);
    CHECK(worst(state.moments.m, reference.m) < tolerance);
    CHECK(worst(state.moments.v, reference.v) < tolerance);
  }
}

TEST_CASE("a gradient longer than clip_norm is scaled to it, a shorter one is left alone") {
  OptimizerOptions o = options();
  const at::Tensor long_one = tensor({2}, {3, 4}), short_one = tensor({2}, {0.3, 0.4});
  State clipped(2, at::kDouble);
  clipped.step(long_one, o, 1);
  CHECK(worst(clipped.moments.m, {0.1 * 0.6, 0.1 * 0.8}) < 1e-16);
  State untouched(2, at::kDouble), unlimited(2, at::kDouble);
  untouched.step(short_one, o, 1);
  o.clip_norm = 0;
  unlimited.step(short_one, o, 1);
  CHECK(bit_equal(untouched.p, unlimited.p));
  State large(2, at::kDouble);
  large.step(long_one, o, 1);
  CHECK(worst(large.moments.m, {0.1 * 3, 0.1 * 4}) < 1e-15);
}

TEST_CASE("the average follows at once at first and slowly later") {
  OptimizerOptions o = options();
  o.ema_decay = 0.9999;
  State state(4, at::kDouble);
  for (int64_t k = 1; k <= 20; ++k) {
    const at::Tensor before = state.ema.clone();
    state.step(gradient_at(4, 3, at::kDouble), o, k);
    const double d = (1.0 + static_cast<double>(k)) / (10.0 + static_cast<double>(k));
    CHECK(largest_difference(state.ema, before * d + state.p * (1 - d)) < 1e-15);
  }
  o.ema_decay = 0;
  state.step(gradient_at(4, 3, at::kDouble), o, 21);
  CHECK(bit_equal(state.ema, state.p));
}

TEST_CASE("the norm is exact for what can be represented, and not finite where an element is not") {
  CHECK(flat_norm(tensor({2}, {3, 4})) == 5);
  CHECK(flat_norm(tensor({0}, {})) == 0);
  const at::Tensor many = tensor({1}, {0.5}).expand({100000}).contiguous();
  CHECK(flat_norm(many) == Approx(0.5 * std::sqrt(100000.0)).epsilon(1e-13));
  CHECK(flat_norm(many.to(at::kFloat)) == Approx(0.5 * std::sqrt(100000.0)).epsilon(1e-13));
  CHECK(std::isnan(flat_norm(tensor({2}, {1, std::numeric_limits<double>::quiet_NaN()}))));
  CHECK(std::isinf(flat_norm(tensor({2}, {1, std::numeric_limits<double>::infinity()}))));
}

TEST_CASE("the number of threads changes no bit") {
  const int64_t n = 5 * (1 << 14) + 77;
  const int before = at::get_num_threads();
  std::vector<State> states;
  std::vector<double> norms;
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    State& state = states.emplace_back(n, at::kFloat);
    for (int64_t k = 1; k <= 3; ++k) state.step(gradient_at(n, static_cast<uint64_t>(k), at::kFloat), options(), k);
    norms.push_back(flat_norm(state.p));
  }
  at::set_num_threads(before);
  for (size_t i = 1; i < states.size(); ++i) {
    CHECK(norms[i] == norms[0]);
    CHECK(bit_equal(states[i].p, states[0].p));
    CHECK(bit_equal(states[i].ema, states[0].ema));
    CHECK(bit_equal(states[i].moments.v, states[0].moments.v));
  }
}

TEST_CASE("the learning rate rises over the warm-up, then stays or falls as a cosine to the last image") {
  OptimizerOptions o;
  o.learning_rate = 2;
  o.warmup_images = 100;
  o.images = 300;
  CHECK(learning_rate(o, 0, 10) == Approx(0.2));
  CHECK(learning_rate(o, 40, 10) == Approx(1));
  CHECK(learning_rate(o, 90, 10) == 2);
  CHECK(learning_rate(o, 290, 10) == 2);
  o.cosine = true;
  CHECK(learning_rate(o, 40, 10) == Approx(1));
  CHECK(learning_rate(o, 100, 10) == 2);
  CHECK(learning_rate(o, 150, 10) == Approx(1 + std::cos(std::acos(-1.0) / 4)));
  CHECK(learning_rate(o, 200, 10) == Approx(1));
  CHECK(learning_rate(o, 300, 10) == Approx(0).margin(1e-15));
  o.warmup_images = 0;
  CHECK(learning_rate(o, 0, 10) == 2);
}
