#include "core/evaluation/manifold.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include "tests/evaluation/pictures.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

at::Tensor on_a_line(const std::vector<double>& values) {
  return at::tensor(values, at::TensorOptions(at::kDouble)).unsqueeze(1);
}

}  // namespace

TEST_CASE("Precision and recall of points on a line are what balls to the nearest neighbour give") {
  const at::Tensor real = on_a_line({0, 1, 10});  // radii 1, 1, 9
  // 0.5 and -1 (on the edge) lie in the ball around 0, 18.5 in the one around 10, -1.5 in none.
  CHECK(precision_recall(real, on_a_line({0.5, -1, -1.5, 18.5}), 1).precision == 0.75);
  const PrecisionRecall narrow = precision_recall(real, on_a_line({0, 0.25, 0.5}), 1);  // radii 0.25
  CHECK(narrow.precision == 1);
  CHECK(narrow.recall == Approx(1.0 / 3));  // 0 alone
}

TEST_CASE("The k-th neighbour sets the radius") {
  const at::Tensor real = on_a_line({0, 1, 3, 7});
  const at::Tensor samples = on_a_line({-2.5, -2.5, -2.5, -2.5});
  CHECK(precision_recall(real, samples, 1).precision == 0);  // radii 1, 1, 2, 4
  CHECK(precision_recall(real, samples, 2).precision == 1);  // radii 3, 2, 3, 6
}

TEST_CASE("A set covers itself, with repeated points too, and nothing far away") {
  const at::Tensor x = normal(40, 8, 1), repeated = at::cat({x, x.slice(0, 0, 1).expand({5, 8})});
  for (const at::Tensor& set : {x, repeated}) {
    const PrecisionRecall same = precision_recall(set, set);
    CHECK(same.precision == 1);
    CHECK(same.recall == 1);
  }
  const PrecisionRecall far = precision_recall(x, x + 100);
  CHECK(far.precision == 0);
  CHECK(far.recall == 0);
}

TEST_CASE("Sets larger than what is held of a distance matrix at once are taken whole") {
  const at::Tensor near = normal(900, 2, 1), all = at::cat({near, near + 1000});
  const PrecisionRecall half = precision_recall(all, at::cat({near, near - 1000}));
  CHECK(half.precision == 0.5);
  CHECK(half.recall == 0.5);
}

TEST_CASE("A set of no more than k points has no manifold") {
  CHECK_THROWS_AS(precision_recall(normal(3, 2, 1), normal(9, 2, 1)), std::invalid_argument);
  CHECK_THROWS_AS(precision_recall(normal(9, 2, 1), normal(3, 2, 1)), std::invalid_argument);
}
