#include "core/diffusion/mixture_start.hpp"

#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <numeric>

#include "core/diffusion/dct.hpp"
#include "tests/diffusion/setup.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

constexpr double sigma_1 = 0.05;

std::vector<uint64_t> numbers_to(int64_t n) {
  std::vector<uint64_t> sample(static_cast<size_t>(n));
  std::iota(sample.begin(), sample.end(), uint64_t{0});
  return sample;
}

// Images of 6 x 6: Gaussian, DCT coefficient (i, j) with variance 0.02 / (1 + i + j), about a mean of 0.1; in `groups`
// groups of different brightness, `apart` from each other.
at::Tensor images(int64_t n, int groups = 1, double apart = 0.5, int64_t side = 6) {
  at::Tensor z = normal_like(at::ones({n, 1, side, side}, at::kDouble), 77, Purpose::test, numbers_to(n), 0);
  at::Tensor std = at::ones({side, side}, at::kDouble);
  for (int64_t i = 0; i < side; ++i) {
    for (int64_t j = 0; j < side; ++j)
      std.data_ptr<double>()[i * side + j] = std::sqrt(0.02 / static_cast<double>(1 + i + j));
  }
  at::Tensor x = inverse_dct2(z * std) + 0.1;
  for (int64_t k = 0; k < n; ++k) x[k].add_(apart * (static_cast<double>(k % groups) - 0.5 * (groups - 1)));
  return x;
}

struct Fixture {
  explicit Fixture(const std::string& corruption, const at::Tensor& x, double sigma = sigma_1)
      : setup(
            [&] {
              Text text;
              text.corruption = corruption;
              return text;
            }(),
            x.sizes().slice(1).vec()),
        source(x),
        process(setup.corruption, Path({0, setup.corruption->level_max()}, {0, sigma})),
        data(source, *setup.corruption, at::kDouble, calibration_images, 256, 3),
        statistics(PriorStatistics::estimate(data, setup.corruption->level_max())) {}

  MixtureStart fit(int64_t components = 0) {
    return estimate_mixture_start(source, statistics.gaussian_images(), process, 3, components);
  }
  // Fits, keeps, and draws from it.
  at::Tensor draw(int64_t n, int64_t components = 0) {
    statistics.mixture = fit(components);
    return Prior(statistics, process, {"mixture", "dct", 11}).draw(0, n, at::kDouble).x_1;
  }

  Setup setup;
  MemorySource source;
  Process process;
  DataCalibration data;
  PriorStatistics statistics;
};

const std::string identity = "[corruption]\ntype = \"identity\"\n";
const std::string blur = "[corruption]\ntype = \"heat_blur\"\nstd_max = 2.0\n";
const std::string soft_mask = "[corruption]\ntype = \"soft_mask\"\n";
const std::string half_mask = "[corruption]\ntype = \"pixel_mask\"\nfraction_max = 0.5\n";

at::Tensor covariance(const at::Tensor& x) {
  const at::Tensor flat = x.reshape({x.size(0), -1}), centred = flat - flat.mean(at::IntArrayRef{0});
  return at::matmul(centred.t(), centred) / static_cast<double>(x.size(0));
}

}  // namespace

TEST_CASE("the coordinates of the images have covariance I, and the directions undo them") {
  for (const std::string& corruption : {identity, blur, half_mask}) {
    Fixture f(corruption, images(900));
    const MixtureStart start = f.fit(1);
    const GaussianImages gaussian = f.statistics.gaussian_images();
    const at::Tensor p = coordinates_of(gaussian, start.directions), w = start.directions.flatten(1).t();
    const int64_t r = start.dimensions();
    REQUIRE(r > 0);
    CHECK(largest_difference(at::matmul(p, w), at::eye(r, at::kDouble)) < 1e-9);
    const at::Tensor s = f.statistics.pixel_covariance;
    CHECK(largest_difference(at::matmul(at::matmul(p, s), p.t()), at::eye(r, at::kDouble)) < 1e-9);
  }
}

TEST_CASE("a direction is kept where C_1 leaves it above a fifth of the noise") {
  // Under a blur the directions are those of the DCT, and what is left of each is known.
  Fixture f(blur, images(3000));
  const at::Tensor variance = f.statistics.dct_variance.flatten();
  int64_t above = 0;
  for (int64_t k = 0; k < 36; ++k) {
    const double i = static_cast<double>(k / 6), j = static_cast<double>(k % 6), unit = std::acos(-1.0) / 6;
    const double factor = std::exp(-0.5 * 4 * unit * unit * (i * i + j * j));
    above += factor * factor * variance[k].item<double>() > 0.04 * sigma_1 * sigma_1;
  }
  REQUIRE(above > 2);
  CHECK(std::abs(f.fit(1).dimensions() - above) <= 1);  // correlations of the sample move one at the threshold
}

TEST_CASE("one component draws with mean and covariance of the gaussian prior") {
  for (const std::string& corruption : {identity, blur}) {
    Fixture f(corruption, images(2000));
    const int64_t n = 20000;
    const at::Tensor gaussian =
        Prior(f.statistics, f.process, {"gaussian", "low_rank", 11}).draw(0, n, at::kDouble).x_1;
    const at::Tensor mixture = f.draw(n, 1);
    CHECK(largest_difference(mixture.mean(at::IntArrayRef{0}), gaussian.mean(at::IntArrayRef{0})) < 0.01);
    CHECK(largest_difference(covariance(mixture), covariance(gaussian)) <
          0.01 * covariance(gaussian).max().item<double>() + 2e-3);
  }
}

TEST_CASE("Gaussian images choose one component, and images in two groups at least two") {
  Fixture one(blur, images(3000)), two(blur, images(3000, 2));
  CHECK(one.fit().mixture.components() == 1);
  const MixtureStart start = two.fit();
  CHECK(start.mixture.components() >= 2);
  CHECK(start.held_out.at(start.choice) > start.held_out.front() + 0.2);
  CHECK(start.tried == std::vector<double>{1, 2, 4, 8, 16, 32, 64, 128});
}

TEST_CASE("the start of images in groups falls into the same groups") {
  // The mean of each image, which a blur keeps: between two groups there is nobody.
  Fixture f(blur, images(3000, 2, 1.0));
  const auto between = [](const at::Tensor& x) {
    const at::Tensor mean = x.flatten(1).mean(1) - 0.1;
    return (mean.abs() < 0.15).to(at::kDouble).mean().item<double>();
  };
  const at::Tensor gaussian =
      Prior(f.statistics, f.process, {"gaussian", "low_rank", 11}).draw(0, 2000, at::kDouble).x_1;
  CHECK(between(gaussian) > 0.15);
  CHECK(between(f.draw(2000)) < 0.02);
}

TEST_CASE("a corruption that leaves nothing gives noise, and says so") {
  Fixture f(soft_mask, images(100));
  const at::Tensor x = f.draw(500);
  CHECK(f.statistics.mixture->dimensions() == 0);
  CHECK(bit_equal(x, Prior(f.statistics, f.process, {"noise", "dct", 11}).draw(0, 500, at::kDouble).x_1));
  CHECK(Prior(f.statistics, f.process, {"mixture", "dct", 11}).describe() ==
        "mixture: C_1 leaves nothing of the training images above the noise but their mean, so that trajectories start "
        "from C_1 x + sigma_1 eps with x Gaussian");
}

TEST_CASE("constant pictures start from that picture and the noise") {
  Fixture f(blur, at::ones({100, 1, 6, 6}, at::kDouble) * 0.25);
  const at::Tensor x = f.draw(2000);
  CHECK(f.statistics.mixture->dimensions() == 0);
  CHECK(largest_difference(x.mean(at::IntArrayRef{0}), f.statistics.mean) < 0.01);
  CHECK(x.isfinite().all().item<bool>());
}

TEST_CASE("a path without noise at its end has a mixture too") {
  Fixture f(blur, images(500, 2), 0);
  CHECK(f.draw(100).isfinite().all().item<bool>());
}

TEST_CASE("of a mask that leaves hundreds of directions the mixture holds 64, and says what share that is") {
  Fixture f(half_mask, images(400, 1, 0.5, 16));
  const MixtureStart start = f.fit();
  CHECK(start.dimensions() == mixture_directions);
  CHECK(start.share < enough_of_the_start);
  CHECK(start.share > 0);
  Fixture all(identity, images(400));
  CHECK(all.fit().share == 1);
}

TEST_CASE("too few images for the components are refused with the number that is needed") {
  Fixture fifty(blur, images(50)), few(blur, images(19));
  CHECK(message_of<RunError>([&] { fifty.fit(32); }) ==
        "sample.prior = \"mixture\" needs at least 640 images, 20 for each component, and the data set has 50; lower "
        "sample.prior_components, or leave it at 0, which chooses the number");
  CHECK(message_of<RunError>([&] { few.fit(); }) ==
        "sample.prior = \"mixture\" needs at least 20 images, 20 for each component, and the data set has 19; use "
        "sample.prior = \"empirical\" or \"gaussian\"");
  CHECK(fifty.fit().tried == std::vector<double>{1, 2});
  CHECK(fifty.fit(2).mixture.components() <= 2);
}

TEST_CASE("a mixture survives the way through a checkpoint's names") {
  for (const std::string& corruption : {blur, soft_mask}) {
    Fixture f(corruption, images(500, 3));
    const at::Tensor x = f.draw(50);
    const PriorStatistics back = PriorStatistics::from(f.statistics.named());
    CHECK(bit_equal(Prior(back, f.process, {"mixture", "dct", 11}).draw(0, 50, at::kDouble).x_1, x));
    CHECK(Prior(back, f.process, {"mixture", "dct", 11}).describe() ==
          Prior(f.statistics, f.process, {"mixture", "dct", 11}).describe());
  }
}

TEST_CASE("a checkpoint without a mixture says so, and one of another number of components does") {
  Fixture f(blur, images(500, 3));
  CHECK(
      message_of<RunError>([&] {
        Prior(f.statistics, f.process, {"mixture", "dct", 0});
      }) ==
      "sample.prior = \"mixture\" needs a mixture fitted to the training images, which this checkpoint does not hold, "
      "because an earlier version wrote it; use prior = \"empirical\" or \"gaussian\", or train again");
  f.statistics.mixture = f.fit(4);
  CHECK_NOTHROW(Prior(f.statistics, f.process, {"mixture", "dct", 0, 4}));
  CHECK_NOTHROW(Prior(f.statistics, f.process, {"mixture", "dct", 0, 0}));
  CHECK(message_of<RunError>([&] {
          Prior(f.statistics, f.process, {"mixture", "dct", 0, 9});
        }) ==
        "sample.prior_components = 9 acts where the mixture is fitted, before the training, and this checkpoint's "
        "has 4 components; leave the key out, or train again under another run.name");
}

TEST_CASE("a fit that is cancelled ends before it reads the data") {
  Fixture f(blur, images(100));
  const std::atomic<bool> cancel = true;
  CHECK_THROWS_AS(estimate_mixture_start(f.source, f.statistics.gaussian_images(), f.process, 3, 0, &cancel),
                  Cancelled);
}
