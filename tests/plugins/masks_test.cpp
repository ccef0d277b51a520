#include <cmath>

#include "tests/plugins/corruptions.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

TEST_CASE("soft_mask keeps 1 - a exp(-d^2 / (2 r^2)) of each pixel") {
  const SampleShape shape = {1, 4, 4};
  const auto c = corruption("soft_mask", "", shape);  // r = 1 px at level 0.5, a = 0.75
  const std::vector<double> m = diagonal(*c, 0.5, 0, shape);
  CHECK(m[0] == Approx(0.92095058).epsilon(1e-8));   // d^2 = 4.5
  CHECK(m[5] == Approx(0.41589941).epsilon(1e-8));   // d^2 = 0.5
  CHECK(m[15] == Approx(0.92095058).epsilon(1e-8));  // symmetric about the middle
}

TEST_CASE("soft_mask grows from the point that its parameters name, in units of the larger side") {
  const SampleShape shape = {2, 3, 10};
  const auto c = corruption("soft_mask", "radius = 0.2\nx = 0.25\ny = 1.0", shape);
  for (const double level : {0.05, 0.3, 0.9, 0.999}) {
    const double r = 0.2 * 10 * level / (1 - level), a = 1 - (1 - level) * (1 - level);
    std::vector<double> expected;
    for (int p = 0; p < 60; ++p) {
      const double dy = p / 10 % 3 + 0.5 - 3, dx = p % 10 + 0.5 - 2.5;
      expected.push_back(1 - a * std::exp(-(dy * dy + dx * dx) / (2 * r * r)));
    }
    check_close(c->apply(point(level), at::ones({1, 2, 3, 10}, at::kDouble)), expected);
  }
}

TEST_CASE("soft_mask hides no pixel wholly before level 1, and then all") {
  const SampleShape shape = {1, 5, 5};  // its middle pixel lies on the point
  const auto c = corruption("soft_mask", "", shape);
  for (const double level : {1e-200, 1e-12, 0.5, 0.999, 1 - 1e-6, 1 - 1e-9}) {
    const double least = (1 - level) * (1 - level);
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      const at::Tensor m = c->apply(point(level), at::ones({1, 1, 5, 5}, dtype));
      CHECK(m.min().item<double>() > 0);
      CHECK(numbers(m)[12] == Approx(least).epsilon(1e-6));
    }
  }
  for (const double m : diagonal(*c, 1.0, 0, shape)) CHECK(m == 0);
}

TEST_CASE("soft_mask and box_mask take their place from the key where that is asked for") {
  const SampleShape shape = {1, 6, 9};
  for (const std::string id : {"soft_mask", "box_mask"}) {
    const auto by_key = corruption(id, "place = \"key\"", shape);
    const std::vector<double> u = uniform_of(77, 2);
    const auto there = corruption(id, fmt::format("y = {}\nx = {}", u[0], u[1]), shape);
    CHECK(diagonal(*by_key, 0.4, 77, shape) == diagonal(*there, 0.4, 5, shape));
    CHECK(diagonal(*by_key, 0.4, 77, shape) != diagonal(*by_key, 0.4, 78, shape));
  }
}

TEST_CASE("box_mask covers a box of level times the sides, pixels at its edge in part") {
  const SampleShape shape = {1, 4, 6};
  const auto middle = corruption("box_mask", "", shape);  // rows 1 to 3, columns 1.5 to 4.5
  const std::vector<double> row = {1, 0.5, 0, 0, 0.5, 1}, whole(6, 1.0);
  std::vector<double> expected;
  for (const auto& part : {whole, row, row, whole}) expected.insert(expected.end(), part.begin(), part.end());
  CHECK(diagonal(*middle, 0.5, 0, shape) == expected);

  const auto corner = corruption("box_mask", "x = 0.0\ny = 1.0", shape);  // rows 2 to 4, columns 0 to 3
  expected.clear();
  for (int p = 0; p < 24; ++p) expected.push_back(p / 6 >= 2 && p % 6 < 3 ? 0 : 1);
  CHECK(diagonal(*corner, 0.5, 0, shape) == expected);
}

TEST_CASE("box_mask hides level^2 of the image at every place") {
  const SampleShape shape = {1, 7, 11};
  const auto c = corruption("box_mask", "place = \"key\"", shape);
  for (uint64_t key = 0; key < 10; ++key) {
    for (const double level : {0.01, 0.33, 0.8, 1.0}) {
      double hidden = 0;
      for (const double m : diagonal(*c, level, key, shape)) hidden += 1 - m;
      CHECK(hidden == Approx(level * level * 77));
    }
  }
  CHECK(corruption("box_mask", "side_max = 0.5", shape)->level_max() == 0.5);
}

TEST_CASE("patch_mask hides the patches whose uniform number is below the level, cut at the edges") {
  const SampleShape shape = {3, 5, 7};
  const auto c = corruption("patch_mask", "patch = 2", shape);
  const std::vector<double> u = uniform_of(9, 12);  // 3 x 4 patches
  std::vector<double> expected;
  for (int p = 0; p < 105; ++p) expected.push_back(u[static_cast<size_t>(p / 7 % 5 / 2 * 4 + p % 7 / 2)] < 0.5 ? 0 : 1);
  CHECK(diagonal(*c, 0.5, 9, shape) == expected);
  CHECK(diagonal(*c, 0.5, 9, shape) != diagonal(*c, 0.5, 10, shape));
  for (const double m : diagonal(*c, 1.0, 9, shape)) CHECK(m == 0);
  CHECK(corruption("patch_mask", "fraction_max = 0.6", shape)->level_max() == 0.6);
}

TEST_CASE("mask fades in the picture of its file: white keeps, black hides") {
  const SampleShape shape = {2, 2, 3};
  const ByteImage picture = {{1, 2, 3}, {0, 255, 51, 255, 0, 102}};  // 51 is 0.2 of white
  const auto c = with_picture("mask", picture, shape);
  CHECK(c->level_max() == 1.0);
  for (const double level : {0.25, 1.0}) {
    std::vector<double> expected;
    for (int channel = 0; channel < 2; ++channel) {
      for (const double white : {0.0, 1.0, 0.2, 1.0, 0.0, 0.4}) expected.push_back(1 - level * (1 - white));
    }
    check_close(c->apply(point(level), at::ones({1, 2, 2, 3}, at::kDouble)), expected, 1e-7);
  }
}

TEST_CASE("mask stretches a picture of another size, and takes the mean of its colours") {
  const ByteImage picture = {{3, 1, 2}, {255, 0, 255, 0, 255, 51}};  // white, and a fifteenth
  const auto c = with_picture("mask", picture, {1, 2, 5});
  const std::vector<double> row = {1, 1, 0.2 / 3, 0.2 / 3, 0.2 / 3};
  std::vector<double> expected = row;
  expected.insert(expected.end(), row.begin(), row.end());
  check_close(c->apply(point(1), at::ones({1, 1, 2, 5}, at::kDouble)), expected, 1e-7);
  check_close(with_picture("mask", picture, {1, 1, 1})->apply(point(1), at::ones({1, 1, 1, 1}, at::kDouble)), {0.2 / 3},
              1e-7);
}

TEST_CASE("what a mask of one key hides stays hidden at every higher level") {
  const SampleShape shape = {2, 8, 12};
  std::vector<std::pair<std::string, std::shared_ptr<const Corruption>>> masks;
  for (const std::string id : {"soft_mask", "box_mask"}) {
    masks.emplace_back(id, corruption(id, "place = \"key\"", shape));
    masks.emplace_back(id, corruption(id, "", shape));
  }
  for (const std::string id : {"patch_mask", "pixel_mask"}) masks.emplace_back(id, corruption(id, "", shape));
  masks.emplace_back("mask", with_picture("mask", ramp(1, 8, 4), shape));
  for (const auto& [id, mask] : masks) {
    INFO(id);
    std::vector<double> before(192, 1.0);
    for (int i = 0; i <= 20; ++i) {
      const std::vector<double> now = diagonal(*mask, mask->level_max() * i / 20, 3, shape);
      for (size_t p = 0; p < now.size(); ++p) CHECK((now[p] >= 0 && now[p] <= before[p]));
      before = now;
    }
    CHECK(*std::min_element(before.begin(), before.end()) < 0.1);
  }
}
