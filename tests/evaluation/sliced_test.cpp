#include "core/evaluation/sliced.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>

#include <cmath>

#include "tests/evaluation/pictures.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

double between(const at::Tensor& a, const at::Tensor& b, const at::Tensor& directions) {
  return sliced_wasserstein(sorted_projections(a, directions), sorted_projections(b, directions));
}

at::Tensor column(const std::vector<double>& values) {
  return at::tensor(values, at::TensorOptions(at::kDouble)).unsqueeze(1);
}

}  // namespace

TEST_CASE("Directions are orthonormal, as many as asked for or as there are dimensions") {
  const at::Tensor few = orthonormal_directions(7, 3, 1), all = orthonormal_directions(7, 100, 1);
  REQUIRE(few.size(1) == 3);
  REQUIRE(all.size(1) == 7);
  const at::Tensor error = at::matmul(few.t(), few) - at::eye(3, few.options());
  CHECK(error.abs().max().item<double>() < 1e-14);
  CHECK(few.equal(orthonormal_directions(7, 3, 1)));
  CHECK_FALSE(few.equal(orthonormal_directions(7, 3, 2)));
}

TEST_CASE("A shift costs |shift|^2 / d, exactly") {
  const at::Tensor x = normal(40, 6, 1), shift = normal(1, 6, 2);
  const double squared = shift.square().sum().item<double>() / 6;
  CHECK(between(x, x + shift, orthonormal_directions(6, 6, 3)) == Approx(std::sqrt(squared)).epsilon(1e-12));
}

TEST_CASE("On a line sets of different numbers of points are coupled by quantiles") {
  const at::Tensor directions = orthonormal_directions(1, 1, 0);
  // Quantiles to 1/3: 0 and 0; to 1/2: 0 and 1; to 2/3: 3 and 1; to 1: 3 and 2.
  const double cost = 1.0 / 6 * 1 + 1.0 / 6 * 4 + 1.0 / 3 * 1;
  const at::Tensor two = column({3, 0}), three = column({1, 2, 0});
  CHECK(between(two, three, directions) == Approx(std::sqrt(cost)).epsilon(1e-14));
  CHECK(between(three, two, directions) == Approx(std::sqrt(cost)).epsilon(1e-14));
}

TEST_CASE("Order and repetition of a set's points do not matter") {
  const at::Tensor x = normal(30, 5, 1), directions = orthonormal_directions(5, 4, 2);
  CHECK(between(x, x.flip({0}), directions) < 1e-14);
  CHECK(between(x, at::cat({x, x, x}), directions) < 1e-14);
  CHECK(between(x, x * 2, directions) > 0.1);
}
