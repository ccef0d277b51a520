#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>

#include <cmath>

#include "core/base/random.hpp"
#include "tests/plugins/support.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {
at::Tensor mask(const Corruption& c, double level, uint64_t key, const SampleShape& sample) {
  Points at = points({level});
  at.key = {key};
  return c.apply(at, at::ones({1, sample[0], sample[1], sample[2]}, at::kDouble));
}
}  // namespace

TEST_CASE("pixel_mask hides the pixels whose uniform number is below the level, in all channels") {
  const SampleShape sample = {3, 5, 7};
  const auto c = corruption("pixel_mask", "", sample);
  Stream stream;
  stream.purpose = Purpose::corruption;
  stream.seed = 77;
  std::vector<double> u(35);
  fill_uniform<double>(stream, u);
  const std::vector<double> y = numbers(mask(*c, 0.4, 77, sample));
  for (size_t i = 0; i < y.size(); ++i) CHECK(y[i] == (u[i % 35] < 0.4 ? 0.0 : 1.0));
}

TEST_CASE("pixel_mask hides the expected fraction, and other pixels for another key") {
  const SampleShape sample = {1, 64, 64};
  const auto c = corruption("pixel_mask", "", sample);
  for (const double level : {0.1, 0.5, 0.9}) {
    const double hidden = 1 - mask(*c, level, 5, sample).mean().item<double>();
    CHECK(std::abs(hidden - level) < 4 * std::sqrt(level * (1 - level) / 4096));
  }
  CHECK_FALSE(at::equal(mask(*c, 0.5, 5, sample), mask(*c, 0.5, 6, sample)));
}

TEST_CASE("a pixel once hidden by pixel_mask stays hidden at every higher level") {
  const SampleShape sample = {2, 16, 16};
  const auto c = corruption("pixel_mask", "", sample);
  at::Tensor before = mask(*c, 0, 9, sample);
  for (int i = 1; i <= 10; ++i) {
    const at::Tensor now = mask(*c, i / 10.0, 9, sample);
    CHECK((now > before).sum().item<int64_t>() == 0);
    CHECK((now < before).sum().item<int64_t>() > 0);
    before = now;
  }
}

TEST_CASE("pixel_mask hides nothing at level 0 and, by default, everything at the end") {
  const SampleShape sample = {1, 16, 16};
  const auto c = corruption("pixel_mask", "", sample);
  CHECK(c->level_max() == 1.0);
  CHECK(mask(*c, 0, 3, sample).sum().item<double>() == 256);
  CHECK(mask(*c, 1, 3, sample).sum().item<double>() == 0);
  CHECK(corruption("pixel_mask", "fraction_max = 0.75", sample)->level_max() == 0.75);
}
