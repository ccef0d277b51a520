// The best linear estimate against its dense formula, and against the pseudo-inverse.
#include "core/diffusion/linear_estimate.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "core/diffusion/low_rank.hpp"
#include "tests/diffusion/restoration.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

constexpr int64_t side = 6, pixels = side * side;

// Images with edges and a bright middle: correlated, and alike at no two places.
at::Tensor images(int64_t n, int64_t size = side) {
  const at::Tensor k = at::arange(size, at::kDouble), power = 1 / (1 + k.square().view({size, 1}) + k.square());
  const at::Tensor smooth = inverse_dct(dct(noise({n, 1, size, size}, 21)) * power.sqrt());
  const at::Tensor middle = (-(k - 2.4).square() / 4).exp();
  return (smooth * (0.3 + middle.view({size, 1}) * middle) * 2 - 0.3).clamp(-1, 1);
}

// What a run on `x` keeps of its images.
PriorStatistics statistics_of(const at::Tensor& x) {
  const MemorySource source(x);
  const std::shared_ptr<const Corruption> any = corruption("identity", "", x.sizes().slice(1).vec());
  return PriorStatistics::estimate(DataCalibration(source, *any, at::kDouble, calibration_images, 64, 3), 1);
}

// The same without the covariances that come before `basis`.
PriorStatistics with(const std::string& basis) {
  PriorStatistics s = statistics_of(images(400));
  if (basis == "pixel") return s;
  s.pixel_covariance.reset();
  if (basis == "low_rank") {
    const at::Tensor centred = (images(400) - s.mean).flatten(1);
    const LowRank five = principal_components(centred - centred.mean(0), 5);
    s.low_rank = five.factor.view({5, 1, side, side});
    s.residual_variance.fill_(five.residual_variance);
  } else {
    s.low_rank.reset();
    s.residual_variance.reset();
  }
  return s;
}

// S, dense.
at::Tensor covariance(const PriorStatistics& s, const std::string& basis) {
  if (basis == "pixel") return s.pixel_covariance;
  const at::Tensor one = at::eye(pixels, at::kDouble);
  if (basis == "low_rank") {
    const at::Tensor f = s.low_rank.flatten(1).to(at::kDouble);
    return at::matmul(f.t(), f) + one * s.residual_variance;
  }
  const at::Tensor to_dct = dct(one.view({pixels, 1, side, side})).view({pixels, pixels}).t();
  return at::matmul(to_dct.t(), to_dct * s.dct_variance.view({pixels, 1}));
}

std::vector<Case> cases(int64_t size = side) {
  const SampleShape shape = {1, size, size};
  return {{"blur", corruption("heat_blur", "std_max = 4.0", shape), 1.5, {1, 2, 3}},
          {"mask", corruption("pixel_mask", "", shape), 0.6, {4, 5, 6}},
          {"downsample", corruption("downsample", "factor = 3", shape), 1, {7, 8, 9}},
          {"nothing seen", corruption("scale", "", shape), 1, {1, 2, 3}},
          {"all seen", corruption("identity", "", shape), 1, {1, 2, 3}}};
}

}  // namespace

TEST_CASE("the linear estimate is m + S A^T (A S A^T + sigma^2 I)^-1 (y - A m) by every covariance") {
  for (const std::string basis : {"pixel", "low_rank", "dct"}) {
    const PriorStatistics s = with(basis);
    const at::Tensor cov = covariance(s, basis), mean = s.mean.flatten();
    for (const Case& c : cases()) {
      for (const double sigma : {0.02, 0.3}) {
        const Measurement a(c.a, c.level, c.keys, sigma);
        const at::Tensor y = a.observe(images(3), 5, std::vector<uint64_t>{0, 1, 2});
        for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
          INFO(basis << ", " << c.name << ", sigma " << sigma << (dtype == at::kFloat ? ", float32" : ""));
          const auto law = law_of_images(s, y.to(dtype));
          REQUIRE(law.has_value());
          CHECK(law->basis == basis);
          const at::Tensor found = linear_estimate(*law, a, y.to(dtype));
          CHECK(found.scalar_type() == dtype);
          for (int64_t b = 0; b < 3; ++b) {
            const at::Tensor m = matrix_of(*c.a, c.level, c.keys[static_cast<size_t>(b)], side);
            const at::Tensor seen = at::matmul(m, cov);
            const at::Tensor system = at::matmul(seen, m.t()) + at::eye(pixels, at::kDouble) * (sigma * sigma);
            const at::Tensor weights = at::linalg_solve(system, y[b].flatten() - at::matmul(m, mean));
            const at::Tensor expected = mean + at::matmul(seen.t(), weights);
            CHECK(largest_difference(column(found, b), expected) < (dtype == at::kDouble ? 1e-5 : 1e-4));
          }
        }
      }
    }
  }
}

TEST_CASE("the root of a low-rank covariance is its root also where directions or the rest have no variance") {
  PriorStatistics s = with("low_rank");
  s.low_rank[3].zero_();
  for (const double residual : {0.0, 0.01}) {
    s.residual_variance.fill_(residual);
    const at::Tensor like = at::zeros({pixels, 1, side, side}, at::kDouble);
    const LinearMap root = law_of_images(s, like)->root;
    const at::Tensor twice = root.apply(root.adjoint(at::eye(pixels, at::kDouble).view(like.sizes())));
    CHECK(largest_difference(twice.view({pixels, pixels}), covariance(s, "low_rank")) < 1e-12);
  }
}

TEST_CASE("on the data that it was fitted to the linear estimate is ahead of the pseudo-inverse") {
  const int64_t n = 200;
  const at::Tensor x = images(n, 8);
  const PriorStatistics s = statistics_of(x);
  std::vector<uint64_t> sample;
  for (int64_t i = 0; i < n; ++i) sample.push_back(static_cast<uint64_t>(i));
  const auto mean_psnr = [&](const at::Tensor& estimate) {
    return (estimate - x).square().flatten(1).mean(1).log10().mean().item<double>() * -10;
  };
  for (Case& c : cases(8)) {
    c.keys = sample;
    for (const double sigma : {0.0, 0.02, 0.2}) {
      INFO(c.name << ", sigma " << sigma);
      const Measurement a(c.a, c.level, c.keys, sigma);
      const at::Tensor y = a.observe(x, 5, sample);
      const double linear = mean_psnr(linear_estimate(*law_of_images(s, y), a, y)),
                   plain = mean_psnr(pseudo_inverse(a, y));
      if (c.name == "all seen" && sigma == 0) {
        CHECK(linear > 100);  // up to what the data does not vary in
      } else {
        CHECK(linear > plain);
      }
    }
  }
}

TEST_CASE("where statistics hold no covariance of clean images there is no linear estimate") {
  PriorStatistics s = with("dct");
  s.dct_variance.reset();
  CHECK(!law_of_images(s, at::zeros({1, 1, side, side}, at::kDouble)).has_value());
  CHECK(!law_of_images({}, at::zeros({1, 1, side, side}, at::kDouble)).has_value());
}
