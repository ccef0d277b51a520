#include "core/diffusion/low_rank.hpp"

#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_eigvalsh.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "tests/diffusion/setup.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

// Correlated rows of mean 0, whose column j shrinks like 1/(j + 1).
at::Tensor rows(int64_t n, int64_t d) {
  std::vector<double> scale;
  for (int64_t j = 0; j < d; ++j) scale.push_back(1 / static_cast<double>(j + 1));
  const at::Tensor x = at::matmul(noise({n, d}, 41) * tensor({d}, scale), noise({d, d}, 42));
  return x - x.mean(at::IntArrayRef{0});
}

at::Tensor covariance(const at::Tensor& x) { return at::matmul(x.t(), x) / static_cast<double>(x.size(0)); }

at::Tensor covariance(const LowRank& model) {
  return at::matmul(model.factor.t(), model.factor) +
         model.residual_variance * at::eye(model.factor.size(1), at::kDouble);
}

// Largest first.
std::vector<double> eigenvalues(const at::Tensor& symmetric) {
  return numbers(at::linalg_eigvalsh(symmetric).flip({0}));
}

}  // namespace

TEST_CASE("as many directions as the data has give its covariance exactly") {
  for (const auto& [n, d, rank] : {std::tuple(40, 9, 9), {10, 30, 9}, {300, 60, 60}}) {
    const at::Tensor x = rows(n, d);
    const LowRank model = principal_components(x, rank);
    CHECK(model.factor.sizes().vec() == std::vector<int64_t>{rank, d});
    CHECK(model.residual_variance < 1e-15);
    CHECK(largest_difference(covariance(model), covariance(x)) < 1e-13);
  }
}

TEST_CASE("fewer directions keep the largest eigenvalues and the total variance, the rest is their mean") {
  const at::Tensor x = rows(200, 19);
  const LowRank model = principal_components(x, 3);  // three and sixteen cover everything: exact
  const std::vector<double> truth = eigenvalues(covariance(x)), kept = eigenvalues(covariance(model));
  double others = 0;
  for (size_t i = 3; i < 19; ++i) others += truth[i] / 16;
  for (size_t i = 0; i < 19; ++i) CHECK(kept[i] == Approx(i < 3 ? truth[i] : others).epsilon(1e-12));
  CHECK(model.residual_variance == Approx(others).epsilon(1e-12));
  CHECK(covariance(model).trace().item<double>() == Approx(covariance(x).trace().item<double>()).epsilon(1e-13));
  // The directions are those of the data: S maps each to its eigenvalue times itself.
  const at::Tensor f = model.factor[0];
  CHECK(largest_difference(at::matmul(covariance(x), f), f * truth[0]) < 1e-13);
}

TEST_CASE("a subspace that does not cover the data finds its largest directions") {
  const at::Tensor x = rows(400, 300);
  const LowRank model = principal_components(x, 20);
  const std::vector<double> truth = eigenvalues(covariance(x)), kept = eigenvalues(covariance(model));
  for (size_t i = 0; i < 20; ++i) CHECK(kept[i] == Approx(truth[i]).epsilon(0.01));
  CHECK(covariance(model).trace().item<double>() == Approx(covariance(x).trace().item<double>()).epsilon(1e-13));
}

TEST_CASE("data without variance has none in any direction") {
  const LowRank model = principal_components(at::zeros({5, 8}, at::kDouble), 4);
  CHECK(model.residual_variance == 0);
  CHECK(numbers(model.factor) == std::vector<double>(32));
}
