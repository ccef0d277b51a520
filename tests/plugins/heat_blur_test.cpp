#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>

#include <cmath>
#include <limits>

#include "tests/plugins/support.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

// exp(-0.5 level^2 ((pi i / H)^2 + (pi j / W)^2)) for every coefficient.
at::Tensor decay(int64_t height, int64_t width, double level) {
  std::vector<double> values;
  for (int64_t i = 0; i < height; ++i) {
    for (int64_t j = 0; j < width; ++j) {
      const double u = M_PI * static_cast<double>(i) / static_cast<double>(height);
      const double v = M_PI * static_cast<double>(j) / static_cast<double>(width);
      values.push_back(std::exp(-0.5 * level * level * (u * u + v * v)));
    }
  }
  return tensor({height, width}, values);
}

}  // namespace

TEST_CASE("heat_blur gives the published values for a ramp") {
  std::vector<double> ramp;
  for (int k = 0; k < 16; ++k) ramp.push_back(k / 8.0 - 1);
  const auto blur = corruption("heat_blur", "", {1, 4, 4});
  const at::Tensor x = tensor({1, 1, 4, 4}, ramp);
  const double expected[] = {-0.733167, -0.653649, -0.544418, -0.464900};
  for (const at::Tensor& y : {blur->apply(points({1.0}), x), blur->apply(points({1.0}), x.to(at::kFloat))}) {
    for (size_t j = 0; j < 4; ++j) CHECK(numbers(y)[j] == Approx(expected[j]).margin(1e-6));
  }
}

TEST_CASE("heat_blur multiplies DCT coefficients by their decay, on any size and at any level") {
  for (const auto& [height, width] : {std::pair{1, 1}, {1, 7}, {6, 1}, {5, 3}, {16, 16}, {28, 28}, {33, 20}}) {
    const auto blur = corruption("heat_blur", "", {2, height, width});
    for (const double level : {1e-6, 0.05, 0.7, 4.0, 23.0}) {
      const at::Tensor x = noise({1, 2, height, width}, 1);
      const at::Tensor expected = inverse_dct(dct(x) * decay(height, width, level));
      INFO(height << " x " << width << " at level " << level);
      CHECK(largest_difference(blur->apply(points({level}), x), expected) < 1e-13);
      CHECK(largest_difference(blur->apply(points({level}), x.to(at::kFloat)), expected) < 2e-6);
      CHECK(largest_difference(blur->adjoint(points({level}), x), expected) < 1e-13);
    }
  }
}

TEST_CASE("heat_blur at level 0 returns the same bits") {
  const auto blur = corruption("heat_blur", "", {3, 8, 8});
  const at::Tensor x = noise({1, 3, 8, 8}, 2, at::kFloat);
  CHECK(at::equal(blur->apply(points({0}), x), x));
}

TEST_CASE("heat_blur treats every sample of a batch as if it were alone") {
  const std::vector<double> level = {0.5, 0, 3, 3, 0.5};
  const auto blur = corruption("heat_blur", "", {3, 12, 9});
  const at::Tensor x = noise({5, 3, 12, 9}, 3, at::kFloat);
  const at::Tensor y = blur->apply(points(level), x);
  for (int64_t b = 0; b < 5; ++b) {
    const at::Tensor alone = blur->apply(points({level[static_cast<size_t>(b)]}), x.narrow(0, b, 1));
    CHECK(at::equal(y.narrow(0, b, 1), alone));
  }
}

TEST_CASE("heat_blur twice is one heat_blur of the summed variances") {
  const auto blur = corruption("heat_blur", "", {1, 16, 24});
  const at::Tensor x = noise({1, 1, 16, 24}, 4);
  const at::Tensor twice = blur->apply(points({4.0}), blur->apply(points({3.0}), x));
  CHECK(largest_difference(twice, blur->apply(points({5.0}), x)) < 1e-13);
}

TEST_CASE("heat_blur by far more than the image leaves the mean, and nothing denormal") {
  const auto blur = corruption("heat_blur", "std_max = 1000.0", {1, 64, 64});
  const at::Tensor x = noise({1, 1, 64, 64}, 5, at::kFloat);
  const at::Tensor y = blur->apply(points({1000.0}), x);
  CHECK(largest_difference(y, at::full({1, 1, 64, 64}, x.to(at::kDouble).mean().item<double>(), at::kDouble)) < 1e-6);
  for (const double level : {0.01, 0.36, 2.0, 10.0}) {
    for (const double v : numbers(blur->apply(points({level}), x))) {
      CHECK((v == 0 || std::abs(v) >= std::numeric_limits<float>::min()));
    }
  }
}

TEST_CASE("heat_blur serves more levels than it remembers") {
  const auto blur = corruption("heat_blur", "", {1, 6, 6});
  const at::Tensor x = noise({1, 1, 6, 6}, 6);
  const at::Tensor before = blur->apply(points({1.0}), x);
  for (int i = 1; i <= 100; ++i) blur->apply(points({0.1 * i}), x);
  CHECK(at::equal(blur->apply(points({1.0}), x), before));
}
