#include <ATen/ops/equal.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <limits>

#include "tests/plugins/corruptions.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

// The pixel behind i, walked to as a ball bounces between the first and the last.
int64_t bounced(int64_t i, int64_t n) {
  while (n > 1 && (i < 0 || i >= n)) i = i < 0 ? -i : 2 * (n - 1) - i;
  return n > 1 ? i : 0;
}

// sum over k, l of g_k g_l x(i + k, j + l), g a sampled Gaussian cut at `radius`.
at::Tensor blurred(const at::Tensor& x, double std, int64_t radius) {
  std::vector<double> g;
  double sum = 0;
  for (int64_t k = -radius; k <= radius; ++k) {
    g.push_back(std::exp(-static_cast<double>(k * k) / (2 * std * std)));
    sum += g.back();
  }
  const int64_t height = x.size(2), width = x.size(3), side = 2 * radius + 1;
  const std::vector<double> values = numbers(x);
  std::vector<double> out(values.size());
  for (int64_t p = 0; p < x.numel(); ++p) {
    const int64_t plane = p / (height * width), i = p / width % height, j = p % width;
    for (int64_t tap = 0; tap < side * side; ++tap) {
      const int64_t k = tap / side, l = tap % side;
      const int64_t row = bounced(i + k - radius, height), column = bounced(j + l - radius, width);
      const double weight = g[static_cast<size_t>(k)] * g[static_cast<size_t>(l)] / (sum * sum);
      out[static_cast<size_t>(p)] += weight * values[static_cast<size_t>((plane * height + row) * width + column)];
    }
  }
  return tensor({1, x.size(1), height, width}, out);
}

at::Tensor impulse(int64_t side) {
  std::vector<double> x(static_cast<size_t>(side * side), 0.0);
  x[x.size() / 2] = 1;
  return tensor({1, 1, side, side}, x);
}

}  // namespace

TEST_CASE("gaussian_blur reflects what lies beyond the edge without repeating it") {
  // R = 4, pixels -4 ... 6 of a row of three are 0 1 2 1 | 0 1 2 | 1 0 1 2.
  double g[5], sum = 0;
  for (int k = 0; k < 5; ++k) g[k] = std::exp(-0.5 * k * k);
  for (int k = -4; k <= 4; ++k) sum += g[std::abs(k)];
  const std::vector<double> expected = {(g[0] + 2 * g[4]) / sum, (g[1] + g[3]) / sum, 2 * g[2] / sum};
  for (const SampleShape& shape : {SampleShape{1, 1, 3}, SampleShape{1, 3, 1}}) {
    const auto blur = corruption("gaussian_blur", "std_max = 1.0", shape);
    check_close(blur->apply(point(1), tensor({1, 1, shape[1], shape[2]}, {1, 0, 0})), expected);
  }
  // The transpose takes the first column of A, not its first row.
  const auto blur = corruption("gaussian_blur", "std_max = 1.0", {1, 1, 3});
  check_close(blur->adjoint(point(1), tensor({1, 1, 1, 3}, {1, 0, 0})),
              {(g[0] + 2 * g[4]) / sum, 2 * (g[1] + g[3]) / sum, 2 * g[2] / sum});
}

TEST_CASE("gaussian_blur is the sum that defines it, on any size and at any level") {
  for (const auto& [height, width] : {std::pair{1, 1}, {1, 7}, {6, 1}, {2, 2}, {5, 3}, {17, 23}}) {
    const auto blur = corruption("gaussian_blur", "std_max = 1.6", {2, height, width});  // R = 7
    for (const double level : {1e-6, 0.05, 0.7, 1.6}) {
      INFO(height << " x " << width << " at level " << level);
      const at::Tensor x = noise({1, 2, height, width}, 1), expected = blurred(x, level, 7);
      CHECK(largest_difference(blur->apply(point(level), x), expected) < 1e-14);
      CHECK(largest_difference(blur->apply(point(level), x.to(at::kFloat)), expected) < 1e-6);
    }
  }
}

TEST_CASE("gaussian_blur is smooth in its level, also where four standard deviations pass a whole pixel") {
  const auto blur = corruption("gaussian_blur", "std_max = 3.0", {1, 15, 15});
  const at::Tensor x = noise({1, 1, 15, 15}, 2);
  for (const double level : {0.5, 1.0, 2.25}) {
    CHECK(largest_difference(blur->apply(point(level - 1e-9), x), blur->apply(point(level + 1e-9), x)) < 1e-8);
  }
}

TEST_CASE("gaussian_blur and heat_blur agree inside the image from 3 px on, and not for small blurs") {
  const at::Tensor x = noise({1, 1, 64, 64}, 3);
  const auto gaussian = corruption("gaussian_blur", "std_max = 8.0", {1, 64, 64});
  const auto heat = corruption("heat_blur", "std_max = 8.0", {1, 64, 64});
  const auto inside = [](const at::Tensor& y) { return y.narrow(2, 20, 24).narrow(3, 20, 24); };
  CHECK(largest_difference(inside(gaussian->apply(point(3), x)), inside(heat->apply(point(3), x))) < 1e-8);
  CHECK(largest_difference(inside(gaussian->apply(point(0.5), x)), inside(heat->apply(point(0.5), x))) > 0.05);
}

TEST_CASE("convolutions give no denormal numbers") {
  const float least = std::numeric_limits<float>::min();
  for (const std::string id : {"gaussian_blur", "motion_blur"}) {
    const auto blur = corruption(id, "", {1, 33, 33});
    for (const double level : {1e-40, 1e-6, 0.07, 0.2, 1.5, 6.0}) {
      for (const double v : numbers(blur->apply(point(level), impulse(33).to(at::kFloat)))) {
        INFO(id << " at " << level);
        CHECK((v == 0 || std::abs(v) >= static_cast<double>(least)));
      }
    }
  }
}

TEST_CASE("motion_blur is the exact integral along its stroke") {
  const auto along = [&](double angle, double level) {
    const auto blur = corruption("motion_blur", fmt::format("angle = {}", angle), {1, 9, 9});
    return numbers(blur->apply(point(level), impulse(9)));
  };
  for (const double angle : {0.0, 180.0, -360.0}) {
    const std::vector<double> y = along(angle, 3);  // 1/24, 7/24, 1/3 in the middle row
    for (size_t p = 0; p < 81; ++p) {
      const double distance = std::abs(static_cast<double>(p) - 40);
      const double expected = distance == 0 ? 1.0 / 3 : distance == 1 ? 7.0 / 24 : distance == 2 ? 1.0 / 24 : 0;
      CHECK(y[p] == Approx(expected).margin(1e-15));
    }
  }
  const std::vector<double> down = along(90, 1);
  CHECK(down[31] == Approx(0.125).epsilon(1e-14));
  CHECK(down[40] == Approx(0.75).epsilon(1e-14));
  CHECK(down[39] == 0);
  // From (-1/2, 1/2) to (1/2, -1/2): the integrals of (1 - u)^2, u (1 - u) and u^2.
  const std::vector<double> rising = along(45, std::sqrt(2.0));
  CHECK(rising[40] == Approx(7.0 / 12).epsilon(1e-12));
  for (const size_t p : {31u, 39u, 41u, 49u}) CHECK(rising[p] == Approx(1.0 / 12).epsilon(1e-12));
  for (const size_t p : {32u, 48u}) CHECK(rising[p] == Approx(1.0 / 24).epsilon(1e-12));
  for (const size_t p : {30u, 50u}) CHECK(rising[p] == 0);
}

TEST_CASE("motion_blur keeps a plain image plain, at every length and angle") {
  for (const double angle : {0.0, 17.0, 63.0, 90.0, 135.0}) {
    const auto blur = corruption("motion_blur", fmt::format("angle = {}", angle), {3, 4, 7});
    for (const double level : {1e-9, 0.3, 2.0, 15.0}) {
      const at::Tensor one = at::ones({1, 3, 4, 7}, at::kDouble);
      CHECK(largest_difference(blur->apply(point(level), one), one) < 1e-14);
    }
  }
}

TEST_CASE("motion_blur takes its angle from the key where that is asked for") {
  const SampleShape shape = {1, 9, 9};
  const auto by_key = corruption("motion_blur", "direction = \"key\"", shape);
  const at::Tensor x = noise({1, 1, 9, 9}, 4);
  const auto there = corruption("motion_blur", fmt::format("angle = {}", 180 * uniform_of(77, 1)[0]), shape);
  CHECK(at::equal(by_key->apply(point(4, 77), x), there->apply(point(4), x)));
  CHECK_FALSE(at::equal(by_key->apply(point(4, 77), x), by_key->apply(point(4, 78), x)));
}

TEST_CASE("kernel turns a lone bright pixel into its picture, with sum 1") {
  const ByteImage picture = {{3, 2, 3}, {255, 0, 0, 102, 204, 51, 0, 0, 0, 102, 204, 51, 0, 0, 0, 102, 204, 51}};
  const auto c = with_picture("kernel", picture, {1, 5, 5});
  const double sum = 255 + 3 * (102 + 204 + 51);
  std::vector<double> expected(25, 0.0);
  expected[6] = 255 / sum;  // the origin is pixel (1, 1) of the picture
  expected[11] = 306 / sum;
  expected[12] = 612 / sum;
  expected[13] = 153 / sum;
  check_close(c->apply(point(1), impulse(5)), expected, 1e-7);
  for (double& v : expected) v *= 0.25;
  expected[12] += 0.75;
  check_close(c->apply(point(0.25), impulse(5)), expected, 1e-7);
}

TEST_CASE("kernel reflects what lies beyond the edge, any number of times") {
  const at::Tensor x = tensor({1, 1, 1, 4}, {1, 2, 3, 4});
  ByteImage near = {{1, 1, 3}, {255, 0, 0}}, far = {{1, 1, 17}, std::vector<uint8_t>(17, 0)};
  far.pixels[0] = 255;
  check_close(with_picture("kernel", near, {1, 1, 4})->apply(point(1), x), {2, 3, 4, 3}, 0);  // x(j + 1)
  check_close(with_picture("kernel", far, {1, 1, 4})->apply(point(1), x), {3, 4, 3, 2}, 0);   // x(j + 8)
  check_close(with_picture("kernel", near, {1, 1, 4})->adjoint(point(1), x), {0, 1, 6, 3}, 0);
}

TEST_CASE("kernel refuses a black picture, at its place in the pipeline file") {
  const TemporaryFolder folder;
  const std::string file = in_quotes(folder.path() / "black.png");
  write_picture(folder.path() / "black.png", plain(1, 3, 3, 0));
  Text text;
  text.corruption = "[corruption]\ntype = \"kernel\"\nimage = " + file + "\n";
  Pipeline pipeline = parse(text.whole());
  load_image_parameters(pipeline);
  CHECK(message_of([&] {
          make_corruption(pipeline, {1, 4, 4});
        }) ==
        "/pipelines/test.toml:8:9: plugin \"kernel\": create failed: the kernel is black: at least one pixel must be "
        "brighter (parameter \"image\")\n  8 | image = " +
            file + "\n    |         ^");
}
