#include "core/evaluation/frechet.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/diag.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/outer.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "tests/evaluation/pictures.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

at::Tensor vector(const std::vector<double>& values) { return at::tensor(values, at::TensorOptions(at::kDouble)); }

at::Tensor rotation(int64_t d, uint64_t seed) { return std::get<0>(at::linalg_qr(normal(d, d, seed))); }

at::Tensor turned(const at::Tensor& q, const at::Tensor& s) { return at::matmul(at::matmul(q, s), q.t()); }

}  // namespace

TEST_CASE("A Gaussian is fitted with the unbiased covariance") {
  const Gaussian g = fit_gaussian(vector({0, 0, 2, 4, 4, 2}).view({3, 2}));
  CHECK(g.mean.equal(vector({2, 2})));
  CHECK(g.covariance.equal(vector({4, 2, 2, 4}).view({2, 2})));
  CHECK_THROWS_AS(fit_gaussian(at::zeros({1, 2})), std::invalid_argument);
}

TEST_CASE("Between diagonal Gaussians the distance is that of means and of standard deviations") {
  const Gaussian a{vector({1, 2, 3}), at::diag(vector({4, 9, 0.25}))},
      b{vector({1, 0, 4}), at::diag(vector({1, 16, 0}))};
  CHECK(frechet_distance(a, b) == Approx(0 + 4 + 1 + 1 + 1 + 0.25).epsilon(1e-13));
}

TEST_CASE("Between Gaussians with common axes the distance does not depend on the axes") {
  const at::Tensor q = rotation(3, 5);
  const Gaussian a{vector({0, 0, 0}), turned(q, at::diag(vector({4, 9, 0.25})))};
  const Gaussian b{vector({0, 0, 0}), turned(q, at::diag(vector({1, 16, 1})))};
  CHECK(frechet_distance(a, b) == Approx(1 + 1 + 0.25).epsilon(1e-13));
}

TEST_CASE("Between two-dimensional Gaussians of different axes the trace of the root has a closed form") {
  // For 2 x 2, (tr M^(1/2))^2 = tr M + 2 sqrt(det M), by the two eigenvalues.
  const at::Tensor s = vector({2, 0.5, 0.5, 1}).view({2, 2}), r = vector({1, -0.75, -0.75, 3}).view({2, 2});
  const double trace = at::matmul(s, r).trace().item<double>(), determinant = (2 * 1 - 0.25) * (1 * 3 - 0.5625);
  const double cross = std::sqrt(trace + 2 * std::sqrt(determinant));
  CHECK(frechet_distance({vector({0, 0}), s}, {vector({0, 0}), r}) == Approx(3 + 4 - 2 * cross).epsilon(1e-13));
}

TEST_CASE("Covariances of rank one cost the angle between them") {
  const at::Tensor v = vector({1, 2, 0, 0}), w = vector({0, 3, 1, 0}), zero = vector({0, 0, 0, 0});
  // tr (v v^T w w^T)^(1/2) = |v w|
  CHECK(frechet_distance({zero, at::outer(v, v)}, {zero, at::outer(w, w)}) == Approx(5 + 10 - 2 * 6).epsilon(1e-13));
  const Gaussian one{zero, at::diag(vector({1, 0, 0, 0}))}, other{zero, at::diag(vector({0, 1, 0, 0}))};
  CHECK(frechet_distance(one, other) == Approx(2).epsilon(1e-14));
  CHECK(frechet_distance(one, {zero, at::zeros({4, 4}, at::TensorOptions(at::kDouble))}) == Approx(1).epsilon(1e-14));
}

TEST_CASE("A set is at distance 0 from itself, also with fewer points than dimensions") {
  for (const int64_t n : {5, 200}) {
    const Gaussian g = fit_gaussian(normal(n, 20, 3) * 10);
    CHECK(frechet_distance(g, g) < 1e-11);
  }
}

TEST_CASE("The distance is symmetric and unchanged where both sets are turned and shifted alike") {
  const at::Tensor x = at::matmul(normal(50, 6, 1), normal(6, 6, 2)), y = normal(30, 6, 4) + 0.5, q = rotation(6, 9);
  const double d = frechet_distance(fit_gaussian(x), fit_gaussian(y));
  CHECK(d > 1);
  CHECK(frechet_distance(fit_gaussian(y), fit_gaussian(x)) == Approx(d).epsilon(1e-12));
  CHECK(frechet_distance(fit_gaussian(at::matmul(x, q) + 3), fit_gaussian(at::matmul(y, q) + 3)) ==
        Approx(d).epsilon(1e-11));
}

TEST_CASE("The bias of fitted Gaussians is the sum over pairs of eigenvalues") {
  // tr S = 5; of the pairs 4, 1 twice 4/5, and half of it all.
  CHECK(frechet_bias_times_n(at::diag(vector({4, 1}))) == Approx(5 + (4 + 1 + 2 * 0.8) / 2).epsilon(1e-14));
  CHECK(frechet_bias_times_n(at::diag(vector({2}))) == Approx(2 + 2 / 2.0).epsilon(1e-14));
  // Of d equal ones: l d + l d (d + 1)/4.
  CHECK(frechet_bias_times_n(at::diag(vector({3, 3, 3, 3, 3}))) == Approx(15 + 3 * 30 / 4.0).epsilon(1e-14));
}

TEST_CASE("Directions without variance cost no bias, and axes do not matter") {
  CHECK(frechet_bias_times_n(at::diag(vector({4, 1, 0, 0}))) == Approx(5 + 6.6 / 2).epsilon(1e-14));
  CHECK(frechet_bias_times_n(at::zeros({3, 3}, at::TensorOptions(at::kDouble))) == 0);
  const at::Tensor s = at::diag(vector({4, 1, 0, 0}));
  CHECK(frechet_bias_times_n(turned(rotation(4, 2), s)) == Approx(5 + 6.6 / 2).epsilon(1e-12));
  CHECK(frechet_bias_times_n(s * 7) == Approx(7 * (5 + 6.6 / 2)).epsilon(1e-14));
}

TEST_CASE("Samples of a Gaussian score against it what the bias says, from four a dimension on") {
  constexpr int64_t d = 16, repeats = 300;
  std::vector<double> values;
  for (int64_t i = 0; i < d; ++i) values.push_back(std::exp(-0.15 * static_cast<double>(i)));
  const at::Tensor l = vector(values);
  const Gaussian exact{at::zeros({d}, at::TensorOptions(at::kDouble)), at::diag(l)};
  for (const int64_t n : {4 * d, 10 * d}) {
    double sum = 0;
    for (int64_t i = 0; i < repeats; ++i)
      sum += frechet_distance(fit_gaussian(normal(n, d, static_cast<uint64_t>(1000 * n + i)) * l.sqrt()), exact);
    INFO(n);
    CHECK(sum / repeats == Approx(frechet_bias_times_n(exact.covariance) / static_cast<double>(n)).epsilon(0.05));
  }
}

TEST_CASE("A reference of finitely many points adds its own bias") {
  constexpr int64_t d = 12, n = 96, m = 240, repeats = 300;
  const Gaussian exact{at::zeros({d}, at::TensorOptions(at::kDouble)), at::diag(vector(std::vector<double>(d, 2.0)))};
  double sum = 0;
  for (uint64_t i = 0; i < repeats; ++i) {
    const at::Tensor a = normal(n, d, 2 * i + 1) * std::sqrt(2.0), b = normal(m, d, 2 * i + 2) * std::sqrt(2.0);
    sum += frechet_distance(fit_gaussian(a), fit_gaussian(b));
  }
  const double bias = frechet_bias_times_n(exact.covariance);
  CHECK(sum / repeats == Approx(bias / n + bias / m).epsilon(0.05));
}
