#include <ATen/ops/equal.h>

#include "tests/plugins/corruptions.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

TEST_CASE("downsample shows the mean of every block, cut blocks of what they have") {
  std::vector<double> counted;
  for (int i = 0; i < 35; ++i) counted.push_back(i);
  const at::Tensor x = tensor({1, 1, 5, 7}, counted);
  const auto c = corruption("downsample", "factor = 2", {1, 5, 7});
  const double means[3][4] = {{4, 6, 8, 9.5}, {18, 20, 22, 23.5}, {28.5, 30.5, 32.5, 34}};
  std::vector<double> whole, quarter;
  for (size_t p = 0; p < 35; ++p) {
    whole.push_back(means[p / 7 / 2][p % 7 / 2]);
    quarter.push_back(0.75 * counted[p] + 0.25 * whole[p]);
  }
  check_close(c->apply(point(1), x), whole);
  check_close(c->apply(point(0.25), x), quarter);
  CHECK(largest_difference(c->apply(point(1), c->apply(point(1), x)), c->apply(point(1), x)) < 1e-14);
}

TEST_CASE("downsample by more than the image leaves its mean") {
  const auto c = corruption("downsample", "factor = 100", {2, 2, 3});
  check_close(c->apply(point(1), tensor({1, 2, 2, 3}, {1, 2, 3, 4, 5, 9, 0, 0, 0, 0, 0, 6})),
              {4, 4, 4, 4, 4, 4, 1, 1, 1, 1, 1, 1});
  check_close(corruption("downsample", "", {1, 1, 1})->apply(point(0.5), tensor({1, 1, 1, 1}, {7})), {7});
}

TEST_CASE("grayscale fades to BT.601 luma, and its transpose spreads by the same weights") {
  const auto c = corruption("grayscale", "", {3, 1, 1});
  const at::Tensor x = tensor({1, 3, 1, 1}, {0.5, -1, 0.25});  // luma -0.409, sum -0.25
  check_close(c->apply(point(1), x), {-0.409, -0.409, -0.409});
  check_close(c->apply(point(0.5), x), {0.0455, -0.7045, -0.0795});
  check_close(c->adjoint(point(0.5), x), {0.212625, -0.573375, 0.11075});
}

TEST_CASE("grayscale leaves grey and alpha as they are") {
  for (const int64_t channels : {1, 2}) {
    const at::Tensor x = noise({1, channels, 3, 4}, 1, at::kFloat);
    const auto c = corruption("grayscale", "", {channels, 3, 4});
    CHECK(at::equal(c->apply(point(1), x), x));
    CHECK(at::equal(c->adjoint(point(0.5), x), x));
  }
  const at::Tensor x = noise({1, 4, 3, 4}, 2);
  const auto colour = corruption("grayscale", "", {3, 3, 4}), with_alpha = corruption("grayscale", "", {4, 3, 4});
  const at::Tensor y = with_alpha->apply(point(0.7), x);
  CHECK(at::equal(y.narrow(1, 0, 3), colour->apply(point(0.7), x.narrow(1, 0, 3))));
  CHECK(at::equal(y.narrow(1, 3, 1), x.narrow(1, 3, 1)));
}

TEST_CASE("fade goes to the mean of each channel") {
  const auto c = corruption("fade", "", {2, 1, 4});
  const at::Tensor x = tensor({1, 2, 1, 4}, {1, 2, 3, 6, 0, 0, -4, 0});
  check_close(c->apply(point(0.5), x), {2, 2.5, 3, 4.5, -0.5, -0.5, -2.5, -0.5});
  check_close(c->apply(point(1), x), {3, 3, 3, 3, -1, -1, -1, -1});
}

TEST_CASE("scale leaves 1 - level of the image") {
  const auto c = corruption("scale", "", {1, 1, 3});
  const at::Tensor x = tensor({1, 1, 1, 3}, {1, -2, 4});
  CHECK(c->level_max() == 1.0);
  check_close(c->apply(point(0.75), x), {0.25, -0.5, 1});
  for (const double y : numbers(c->apply(point(1), x))) CHECK(y == 0);
}

TEST_CASE("every operator returns the same bits at level 0, whatever the rest of the batch is at") {
  const SampleShape shape = {3, 6, 5};
  const at::Tensor x = noise({3, 3, 6, 5}, 3, at::kFloat);
  std::vector<std::shared_ptr<const Corruption>> all = {with_picture("mask", ramp(1, 6, 5), shape),
                                                        with_picture("kernel", ramp(1, 3, 3), shape)};
  for (const std::string id : {"gaussian_blur", "motion_blur", "soft_mask", "box_mask", "patch_mask", "pixel_mask",
                               "downsample", "grayscale", "fade", "scale", "heat_blur"}) {
    all.push_back(corruption(id, "", shape));
  }
  for (const auto& c : all) {
    const Points at = points({c->level_max(), 0, 0.4 * c->level_max()});
    CHECK(at::equal(c->apply(at, x)[1], x[1]));
    CHECK(at::equal(c->adjoint(at, x)[1], x[1]));
    CHECK_FALSE(at::equal(c->apply(at, x)[0], x[0]));
    CHECK_FALSE(at::equal(c->apply(at, x)[2], x[2]));
  }
}

TEST_CASE("corruptions refuse wrong parameters in whole sentences") {
  const std::vector<std::array<std::string, 3>> cases = {
      {"gaussian_blur", "std_max = 0.0", "must be > 0 and <= 1000, not 0"},
      {"motion_blur", "length_max = -1.0", "must be > 0 and <= 1000, not -1"},
      {"motion_blur", "direction = \"random\"", "must be one of \"angle\", \"key\", not \"random\""},
      {"motion_blur", "angle = 400.0", "must be >= -360 and <= 360, not 400"},
      {"soft_mask", "radius = 0.0", "must be > 0 and <= 100, not 0"},
      {"soft_mask", "place = \"keys\"", "must be one of \"point\", \"key\", not \"keys\"; did you mean \"key\"?"},
      {"soft_mask", "x = 32.0", "must be >= 0 and <= 1, not 32"},
      {"box_mask", "side_max = 1.5", "must be > 0 and <= 1, not 1.5"},
      {"patch_mask", "patch = 0", "must be >= 1 and <= 4096, not 0"},
      {"patch_mask", "fraction_max = 0.0", "must be > 0 and <= 1, not 0"},
      {"downsample", "factor = 1", "must be >= 2 and <= 4096, not 1"},
      {"downsample", "factor = 2.5", "must be an integer, not a float"},
      {"mask", "image = 3", "must be a string, the path of an image, not an integer"},
      {"kernel", "", "is missing (image, required)"},
  };
  for (const auto& [id, toml, complaint] : cases) {
    const std::string key = toml.empty() ? "image" : toml.substr(0, toml.find(' '));
    CHECK(message_of([&, &id = id, &toml = toml] { settings(plugin(id), toml); }) ==
          fmt::format("table \"{}\": parameter \"{}\" {}", id, key, complaint));
  }
  CHECK(message_of([] {
          corruption("grayscale", "", {5, 2, 2});
        }) == "plugin \"grayscale\": create failed: knows images of 1 to 4 channels, not of 5");
  CHECK(message_of([] { corruption("fade", "", {16}); }) ==
        "plugin \"fade\": create failed: works on images: samples need a height and a width");
}
