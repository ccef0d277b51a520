#include "core/evaluation/image_quality.hpp"

#include <cmath>

#include "tests/catch.h"

using namespace sdpipe;

namespace {

ByteImage plain(const ImageShape& shape, int value) {
  return {shape, std::vector<uint8_t>(static_cast<size_t>(shape.elements()), static_cast<uint8_t>(value))};
}

// Without structure, the same in every run.
ByteImage texture(const ImageShape& shape, uint32_t seed) {
  ByteImage image = plain(shape, 0);
  for (uint8_t& v : image.pixels) {
    seed = seed * 1664525u + 1013904223u;
    v = static_cast<uint8_t>(seed >> 24);
  }
  return image;
}

// The definition, window by window, for one channel of at least 11 x 11.
double ssim_by_definition(const ByteImage& a, const ByteImage& b) {
  const int64_t height = a.shape.height, width = a.shape.width;
  double weight[11][11], total = 0;
  for (int i = 0; i < 11; ++i) {
    for (int j = 0; j < 11; ++j)
      total += weight[i][j] = std::exp(-((i - 5) * (i - 5) + (j - 5) * (j - 5)) / (2 * 1.5 * 1.5));
  }
  double sum = 0;
  int places = 0;
  for (int64_t top = 0; top + 11 <= height; ++top) {
    for (int64_t left = 0; left + 11 <= width; ++left, ++places) {
      const auto mean = [&](auto f) {
        double m = 0;
        for (int i = 0; i < 11; ++i) {
          for (int j = 0; j < 11; ++j) {
            const size_t p = static_cast<size_t>((top + i) * width + left + j);
            m += weight[i][j] / total * f(double(a.pixels[p]), double(b.pixels[p]));
          }
        }
        return m;
      };
      const double m_a = mean([](double x, double) { return x; }), m_b = mean([](double, double y) { return y; });
      const double var_a = mean([&](double x, double) { return (x - m_a) * (x - m_a); });
      const double var_b = mean([&](double, double y) { return (y - m_b) * (y - m_b); });
      const double cov = mean([&](double x, double y) { return (x - m_a) * (y - m_b); });
      const double c1 = 6.5025, c2 = 58.5225;
      sum += (2 * m_a * m_b + c1) / (m_a * m_a + m_b * m_b + c1) * (2 * cov + c2) / (var_a + var_b + c2);
    }
  }
  return sum / places;
}

}  // namespace

TEST_CASE("PSNR is 10 log10 of 255^2 over the mean squared difference, of all channels together") {
  const ByteImage black = plain({1, 3, 4}, 0);
  CHECK(psnr(black, plain({1, 3, 4}, 255)) == Approx(0).margin(1e-12));
  CHECK(psnr(black, plain({1, 3, 4}, 1)) == Approx(48.130803609));  // 20 log10 255
  ByteImage one = black;
  one.pixels[5] = 10;  // mean squared difference 100 / 12
  CHECK(psnr(black, one) == Approx(10 * std::log10(255.0 * 255.0 * 12 / 100)));
  CHECK(psnr(one, black) == psnr(black, one));
  ByteImage red = plain({3, 2, 2}, 0);
  for (int i = 0; i < 4; ++i) red.pixels[static_cast<size_t>(i)] = 30;  // one channel of three: 300
  CHECK(psnr(plain({3, 2, 2}, 0), red) == Approx(10 * std::log10(255.0 * 255.0 / 300)));
  CHECK(std::isinf(psnr(one, one)));
}

TEST_CASE("SSIM of a picture with itself is 1, and it is symmetric and within -1 to 1") {
  for (const ImageShape& shape : {ImageShape{1, 28, 28}, ImageShape{3, 17, 23}, ImageShape{1, 11, 11},
                                  ImageShape{1, 1, 1}, ImageShape{3, 4, 30}}) {
    const ByteImage a = texture(shape, 1), b = texture(shape, 123456789);
    CHECK(ssim(a, a) == Approx(1).epsilon(1e-12));
    CHECK(ssim(a, b) == Approx(ssim(b, a)).epsilon(1e-12));
    CHECK(ssim(a, b) < 0.999);
    CHECK(ssim(a, b) >= -1);
  }
}

TEST_CASE("SSIM of two plain pictures compares their brightness alone") {
  // (2 a b + C1) / (a^2 + b^2 + C1), C1 = 2.55^2
  const double expected = (2.0 * 100 * 150 + 6.5025) / (100.0 * 100 + 150.0 * 150 + 6.5025);
  CHECK(ssim(plain({1, 16, 16}, 100), plain({1, 16, 16}, 150)) == Approx(expected).epsilon(1e-9));
  CHECK(ssim(plain({3, 5, 5}, 100), plain({3, 5, 5}, 150)) == Approx(expected).epsilon(1e-9));
  CHECK(ssim(plain({1, 16, 16}, 0), plain({1, 16, 16}, 255)) == Approx(6.5025 / (65025 + 6.5025)).epsilon(1e-9));
}

TEST_CASE("SSIM is what its definition gives window by window") {
  for (const ImageShape& shape : {ImageShape{1, 11, 11}, ImageShape{1, 13, 19}}) {
    const ByteImage a = texture(shape, 3);
    ByteImage b = texture(shape, 4), inverted = a;
    for (size_t i = 0; i < b.pixels.size(); ++i) {
      b.pixels[i] = static_cast<uint8_t>((3 * a.pixels[i] + b.pixels[i]) / 4);
      inverted.pixels[i] = static_cast<uint8_t>(255 - a.pixels[i]);
    }
    CHECK(ssim(a, b) == Approx(ssim_by_definition(a, b)).epsilon(1e-9));
    CHECK(ssim(a, inverted) == Approx(ssim_by_definition(a, inverted)).epsilon(1e-9));
    CHECK(ssim(a, inverted) < -0.5);
    CHECK(ssim(a, b) > 0.5);
  }
}

TEST_CASE("the similarity of colours is the mean of the channels'") {
  const ByteImage a = texture({3, 12, 12}, 5), b = texture({3, 12, 12}, 6);
  double sum = 0;
  for (int64_t c = 0; c < 3; ++c) {
    const auto channel = [&](const ByteImage& image) {
      return ByteImage{{1, 12, 12}, {image.pixels.begin() + c * 144, image.pixels.begin() + (c + 1) * 144}};
    };
    sum += ssim(channel(a), channel(b));
  }
  CHECK(ssim(a, b) == Approx(sum / 3).epsilon(1e-12));
}

TEST_CASE("a picture lower or narrower than 11 pixels has a window of its own size") {
  // Two pixels of equal weight: means 50 and 60, variances 2500 and 400, covariance 1000.
  const ByteImage a{{1, 1, 2}, {0, 100}}, b{{1, 1, 2}, {40, 80}};
  const double expected =
      (2.0 * 50 * 60 + 6.5025) * (2.0 * 1000 + 58.5225) / ((50.0 * 50 + 60.0 * 60 + 6.5025) * (2500.0 + 400 + 58.5225));
  CHECK(ssim(a, b) == Approx(expected).epsilon(1e-9));
}

TEST_CASE("pictures of different shapes are refused") {
  CHECK_THROWS_AS(psnr(plain({1, 2, 3}, 0), plain({1, 3, 2}, 0)), std::invalid_argument);
  CHECK_THROWS_AS(ssim(plain({1, 2, 3}, 0), plain({3, 2, 3}, 0)), std::invalid_argument);
}
