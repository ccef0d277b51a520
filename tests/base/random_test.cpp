#include "core/base/random.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "tests/catch.h"

using namespace sdpipe;

namespace {

constexpr uint32_t ones = 0xffffffff;

template <class T>
std::vector<T> normals(const Stream& stream, size_t n) {
  std::vector<T> out(n);
  fill_normal(stream, std::span<T>(out));
  return out;
}

template <class T>
std::vector<T> uniforms(const Stream& stream, size_t n) {
  std::vector<T> out(n);
  fill_uniform(stream, std::span<T>(out));
  return out;
}

}  // namespace

TEST_CASE("philox4x32-10 gives the known answers that its authors published with Random123") {
  CHECK(philox4x32_10({0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  CHECK(philox4x32_10({ones, ones, ones, ones}, {ones, ones}) == Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a stream places block, step, sample, purpose and draw in the counter, and the seed in the key") {
  Stream stream{0x1111222233334444, Purpose::model, 0x0000555566667777, 0x88889999, 0xABC};
  CHECK(stream.words(0xDEADBEEF) ==
        philox4x32_10({0xDEADBEEF, 0x88889999, 0x66667777, 0x55550000 | 0xABC << 4 | 4}, {0x33334444, 0x11112222}));
  // Bits of sample above 48 and of draw above 12 are not part of a stream's name.
  const Words words = stream.words(1);
  stream.sample |= uint64_t{0xFFFF} << 48;
  stream.draw |= 0x1000;
  CHECK(stream.words(1) == words);
}

TEST_CASE("every part of a stream's name changes its numbers") {
  const Stream base{1, Purpose::sampler, 2, 3, 4};
  const std::vector<Stream> others = {{2, Purpose::sampler, 2, 3, 4},
                                      {1, Purpose::prior, 2, 3, 4},
                                      {1, Purpose::sampler, 3, 3, 4},
                                      {1, Purpose::sampler, 2, 4, 4},
                                      {1, Purpose::sampler, 2, 3, 5},
                                      {uint64_t{1} << 32 | 1, Purpose::sampler, 2, 3, 4},
                                      {1, Purpose::sampler, uint64_t{1} << 32 | 2, 3, 4}};
  for (const Stream& other : others) CHECK(other.words(0) != base.words(0));
}

TEST_CASE("a uniform number is the top 24 bits of its word") {
  const Stream stream{7, Purpose::test, 1, 2, 3};
  const std::vector<double> u = uniforms<double>(stream, 10);
  for (uint32_t i = 0; i < 10; ++i) CHECK(u[i] == (stream.words(i / 4)[i % 4] >> 8) * std::exp2(-24));
  CHECK(random_uniform(stream) == u[0]);
  CHECK(random_bits(stream) == (uint64_t{stream.words(0)[1]} << 32 | stream.words(0)[0]));
}

TEST_CASE("uniform numbers are the same in float and double, and never 1") {
  const Stream stream{8};
  const std::vector<float> f = uniforms<float>(stream, 100000);
  const std::vector<double> d = uniforms<double>(stream, 100000);
  CHECK(std::equal(f.begin(), f.end(), d.begin(), [](float a, double b) { return static_cast<double>(a) == b; }));
  CHECK(*std::max_element(d.begin(), d.end()) < 1);
  CHECK(*std::min_element(d.begin(), d.end()) >= 0);
}

TEST_CASE("a normal number comes from its pair of words by Box-Muller, in double, then rounded") {
  const Stream stream{9, Purpose::prior, 5, 6, 7};
  const std::vector<double> z = normals<double>(stream, 8);
  for (uint32_t i = 0; i < 8; i += 2) {
    const Words w = stream.words(i / 4);
    const double r = std::sqrt(-2 * std::log((w[i % 4] + 1.0) / 4294967296.0));
    const double angle = 2 * std::numbers::pi * w[i % 4 + 1] / 4294967296.0;
    CHECK(z[i] == Approx(r * std::cos(angle)).epsilon(1e-14));
    CHECK(z[i + 1] == Approx(r * std::sin(angle)).epsilon(1e-14));
  }
  const std::vector<float> rounded = normals<float>(stream, 8);
  for (size_t i = 0; i < 8; ++i) CHECK(rounded[i] == static_cast<float>(z[i]));
}

TEST_CASE("an element's number does not depend on how many are drawn") {
  const Stream stream{10, Purpose::test, 3};
  const std::vector<float> all = normals<float>(stream, 101);
  for (const size_t n : {1u, 2u, 3u, 4u, 5u, 63u}) {
    CHECK(normals<float>(stream, n) == std::vector<float>(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(n)));
  }
  CHECK(normals<float>(stream, 0).empty());
}

TEST_CASE("normal numbers have the moments of the standard normal distribution") {
  constexpr size_t n = 1 << 20;
  const std::vector<double> z = normals<double>({11}, n);
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0, neighbours = 0;
  for (size_t i = 0; i < n; ++i) {
    m1 += z[i] / n;
    m2 += z[i] * z[i] / n;
    m3 += z[i] * z[i] * z[i] / n;
    m4 += z[i] * z[i] * z[i] * z[i] / n;
    if (i > 0) neighbours += z[i] * z[i - 1] / n;
  }
  // Five standard deviations of each estimate: sqrt(1), sqrt(2), sqrt(15), sqrt(96) over sqrt(n).
  const double unit = 5 / std::sqrt(static_cast<double>(n));
  CHECK(std::abs(m1) < unit);
  CHECK(std::abs(m2 - 1) < std::sqrt(2) * unit);
  CHECK(std::abs(m3) < std::sqrt(15) * unit);
  CHECK(std::abs(m4 - 3) < std::sqrt(96) * unit);
  CHECK(std::abs(neighbours) < unit);
}

TEST_CASE("numbers of neighbouring samples, steps and draws are uncorrelated") {
  constexpr size_t n = 1 << 16;
  const auto correlation = [&](const Stream& a, const Stream& b) {
    const std::vector<double> x = normals<double>(a, n), y = normals<double>(b, n);
    double sum = 0;
    for (size_t i = 0; i < n; ++i) sum += x[i] * y[i] / n;
    return std::abs(sum);
  };
  const double bound = 5 / std::sqrt(static_cast<double>(n));
  CHECK(correlation({1, Purpose::test, 0}, {1, Purpose::test, 1}) < bound);
  CHECK(correlation({1, Purpose::test, 0, 0}, {1, Purpose::test, 0, 1}) < bound);
  CHECK(correlation({1, Purpose::test, 0, 0, 0}, {1, Purpose::test, 0, 0, 1}) < bound);
  CHECK(correlation({1}, {2}) < bound);
}
