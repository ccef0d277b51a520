#include "core/diffusion/prior.hpp"

#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "core/diffusion/dct.hpp"
#include "tests/diffusion/setup.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

constexpr double sigma_1 = 0.2;

// Gaussian images: mean 0.1, DCT coefficient (i, j) with variance 0.04 / (1 + i + j), small enough for [-1, 1].
at::Tensor gaussian_images(int64_t n, int64_t side) {
  std::vector<uint64_t> sample;
  for (int64_t i = 0; i < n; ++i) sample.push_back(static_cast<uint64_t>(i));
  at::Tensor z = normal_like(at::ones({n, 1, side, side}, at::kDouble), 77, Purpose::test, sample, 0);
  at::Tensor std = at::ones({side, side}, at::kDouble);
  for (int64_t i = 0; i < side; ++i) {
    for (int64_t j = 0; j < side; ++j)
      std.data_ptr<double>()[i * side + j] = std::sqrt(0.04 / static_cast<double>(1 + i + j));
  }
  return inverse_dct2(z * std) + 0.1;
}

struct Fixture {
  explicit Fixture(const Text& text, const at::Tensor& images, double noise_at_end = sigma_1)
      : setup(text, images.sizes().slice(1).vec()),
        source(images),
        process(setup.corruption, Path({0, setup.corruption->level_max()}, {0, noise_at_end})),
        data(source, *setup.corruption, at::kDouble, calibration_images, 256, 3),
        statistics(PriorStatistics::estimate(data, process.path().level(1))) {}

  Start draw(const std::string& prior, const std::string& basis, uint64_t first, int64_t n) const {
    return Prior(statistics, process, {prior, basis, 11}).draw(first, n, at::kDouble);
  }

  Setup setup;
  MemorySource source;
  Process process;
  DataCalibration data;
  PriorStatistics statistics;
};

Text without_corruption() {
  Text text;
  text.corruption = "[corruption]\ntype = \"identity\"\n";
  return text;
}

Text blurred() {
  Text text;
  text.corruption = "[corruption]\ntype = \"heat_blur\"\nstd_max = 3.0\n";
  return text;
}

Text half_masked() {
  Text text;
  text.corruption = "[corruption]\ntype = \"pixel_mask\"\nfraction_max = 0.5\n";
  return text;
}

// Every entry of two covariance matrices agrees within `errors` standard errors of an estimate from n Gaussian draws.
void check_covariance(const at::Tensor& estimate, const at::Tensor& truth, double n, double errors) {
  const std::vector<double> e = numbers(estimate), c = numbers(truth);
  const size_t d = static_cast<size_t>(truth.size(0));
  for (size_t i = 0; i < d; ++i) {
    for (size_t j = 0; j < d; ++j) {
      const double error = std::sqrt((c[i * d + i] * c[j * d + j] + c[i * d + j] * c[i * d + j]) / n);
      CHECK(std::abs(e[i * d + j] - c[i * d + j]) < errors * error);
    }
  }
}

at::Tensor covariance(const at::Tensor& x) {
  const at::Tensor flat = x.reshape({x.size(0), -1});
  const at::Tensor centred = flat - flat.mean(at::IntArrayRef{0});
  return at::matmul(centred.t(), centred) / static_cast<double>(x.size(0));
}

at::Tensor diagonal(const at::Tensor& v) { return v.reshape({-1}).diag(); }

std::vector<uint64_t> numbers_to(int64_t n) {
  std::vector<uint64_t> sample(static_cast<size_t>(n));
  std::iota(sample.begin(), sample.end(), uint64_t{0});
  return sample;
}

}  // namespace

TEST_CASE("the statistics are the mean and the covariance of the clean images, whatever corrupts them") {
  const at::Tensor images = gaussian_images(3000, 4);
  const at::Tensor truth = dct2(images - images.mean(at::IntArrayRef{0})).square().mean(at::IntArrayRef{0});
  for (const Text& text : {without_corruption(), blurred(), half_masked()}) {
    const Fixture f(text, images);
    CHECK(largest_difference(f.statistics.mean, images.mean(at::IntArrayRef{0})) < 1e-3);  // of bytes
    CHECK(largest_difference(f.statistics.dct_variance, truth) < 1e-3);
    CHECK(largest_difference(f.statistics.pixel_covariance, covariance(images)) < 1e-3);
    CHECK(f.statistics.pool.size(0) == prior_pool);
    CHECK(f.statistics.pool_keys.size(0) == prior_pool);
  }
}

TEST_CASE("the pool holds C_1 x_0 of the calibration images, wherever the path ends") {
  const Fixture f(half_masked(), gaussian_images(1100, 4));
  const auto expected = [&](double level) {
    return at::cat(
               {f.data.corrupt(0, level), f.data.corrupt(1, level), f.data.corrupt(2, level), f.data.corrupt(3, level)})
        .slice(0, 0, prior_pool);
  };
  CHECK(bit_equal(f.statistics.pool, expected(0.5)));
  const PriorStatistics earlier = PriorStatistics::estimate(f.data, 0.2);
  CHECK(bit_equal(earlier.pool, expected(0.2)));
  CHECK(!bit_equal(earlier.pool, f.statistics.pool));
  CHECK(bit_equal(earlier.pixel_covariance, f.statistics.pixel_covariance));  // of the clean images
}

TEST_CASE("a gaussian prior under a blur has the variance that the blur leaves, and the noise") {
  const Fixture f(blurred(), gaussian_images(1000, 4));
  const int64_t n = 20000;
  at::Tensor left = f.statistics.dct_variance.clone();
  for (int64_t k = 0; k < 16; ++k) {
    const double i = static_cast<double>(k / 4), j = static_cast<double>(k % 4), unit = std::acos(-1.0) / 4;
    const double factor = std::exp(-0.5 * 9 * unit * unit * (i * i + j * j));
    left.data_ptr<double>()[k] *= factor * factor;
  }
  check_covariance(covariance(dct2(f.draw("gaussian", "dct", 0, n).x_1)), diagonal(left + sigma_1 * sigma_1), n, 6);
}

TEST_CASE("where a key's mask shows two pixels their covariance is that of the images; what it hides is noise") {
  const Fixture f(half_masked(), gaussian_images(300, 4));
  const int64_t n = 20000;
  for (const char* basis : {"pixel", "low_rank"}) {
    const Start start = f.draw("gaussian", basis, 0, n);
    const Points at = f.process.at(1, start.keys);
    const at::Tensor seen = f.process.corrupt(at, at::ones({n, 1, 4, 4}, at::kDouble)).flatten(1);
    const at::Tensor x = start.x_1.flatten(1), mean = f.statistics.mean.flatten();
    const at::Tensor centred = (x - mean) * seen, pairs = at::matmul(seen.t(), seen);
    at::Tensor truth = f.statistics.pixel_covariance.clone();
    truth.diagonal().add_(sigma_1 * sigma_1);
    check_covariance(at::matmul(centred.t(), centred) / pairs, truth, pairs.min().item<double>(), 6);
    const at::Tensor eps = normal_like(start.x_1, 11, Purpose::prior, numbers_to(n), 0, 0).flatten(1);
    CHECK(bit_equal(x * (1 - seen), sigma_1 * eps * (1 - seen)));
  }
}

TEST_CASE("gaussian priors draw with the statistics' mean and covariance, and the noise on top") {
  const Fixture f(without_corruption(), gaussian_images(3000, 4));
  const int64_t n = 20000;
  const double noise_variance = sigma_1 * sigma_1;
  for (const char* basis : {"dct", "pixel"}) {
    const at::Tensor x = f.draw("gaussian", basis, 0, n).x_1;
    at::Tensor truth = f.statistics.pixel_covariance.clone();
    if (std::string(basis) == "dct") {
      check_covariance(covariance(dct2(x)), diagonal(f.statistics.dct_variance + noise_variance), n, 6);
    } else {
      truth.diagonal().add_(noise_variance);
      check_covariance(covariance(x), truth, n, 6);
    }
    const double largest_std = std::sqrt(truth.diagonal().max().item<double>() + noise_variance);
    CHECK(largest_difference(x.mean(at::IntArrayRef{0}), f.statistics.mean) < 6 * largest_std / std::sqrt(double(n)));
  }
}

// F^T F + r I
at::Tensor low_rank_covariance(const PriorStatistics& s) {
  const at::Tensor f = s.low_rank.flatten(1);
  return at::matmul(f.t(), f) + s.residual_variance * at::eye(f.size(1), at::kDouble);
}

TEST_CASE("the low-rank covariance of few pixels, or of few images, is the whole one") {
  for (const int64_t n : {300, 10}) {
    const Fixture f(without_corruption(), gaussian_images(n, 4));
    CHECK(f.statistics.low_rank.size(0) == std::min<int64_t>(n - 1, 16));
    CHECK(largest_difference(low_rank_covariance(f.statistics), f.statistics.pixel_covariance) < 1e-14);
  }
}

TEST_CASE("256 directions are kept of many, and all of the variance") {
  const Fixture f(half_masked(), gaussian_images(300, 17));  // 289 pixels
  CHECK(f.statistics.low_rank.size(0) == prior_rank);
  CHECK(f.statistics.residual_variance.item<double>() > 0);
  CHECK(low_rank_covariance(f.statistics).trace().item<double>() ==
        Approx(f.statistics.pixel_covariance.trace().item<double>()).epsilon(1e-12));
}

TEST_CASE(
    "a gaussian prior is C_1(key) (mean + F^T z + sqrt(r) eta) + sigma_1 eps, so its covariance is C_1 S C_1^T + "
    "sigma_1^2 I for each key") {
  for (const Text& text : {blurred(), half_masked()}) {
    const Fixture f(text, gaussian_images(300, 17));
    const std::vector<uint64_t> sample = {5, 6, 7};
    const at::Tensor like = at::ones({3, 1, 17, 17}, at::kDouble);
    const auto normal = [&](const at::Tensor& x, uint32_t draw) {
      return normal_like(x, 11, Purpose::prior, sample, 0, draw);
    };
    const at::Tensor r = f.statistics.residual_variance, eta = normal(like, 3), eps = normal(like, 0);
    CHECK(r.item<double>() > 0);
    const at::Tensor directions =
        at::matmul(normal(at::ones({3, prior_rank}, at::kDouble), 1), f.statistics.low_rank.flatten(1))
            .view({3, 1, 17, 17});
    const at::Tensor low_rank = f.statistics.mean + directions + r.sqrt() * eta;
    const at::Tensor smooth = f.statistics.mean + inverse_dct2(f.statistics.dct_variance.sqrt() * normal(like, 1));
    for (const auto& [basis, clean] : {std::pair("low_rank", low_rank), {"dct", smooth}}) {
      const Start start = f.draw("gaussian", basis, 5, 3);
      const at::Tensor expected = f.process.corrupt(f.process.at(1, start.keys), clean) + sigma_1 * eps;
      CHECK(largest_difference(start.x_1, expected) < 1e-14);
      CHECK(start.keys == std::vector<uint64_t>{key_of(11, 5), key_of(11, 6), key_of(11, 7)});
    }
  }
}

TEST_CASE("a checkpoint from before the statistics of clean images says so, and other priors still work") {
  const Fixture f(half_masked(), gaussian_images(40, 4));
  NamedTensors tensors;
  for (const auto& [name, tensor] : f.statistics.named()) {
    const size_t at = name.find("clean_");
    tensors[at == std::string::npos ? name : std::string(name).erase(at, 6)] = tensor;
  }
  const PriorStatistics old = PriorStatistics::from(tensors);
  for (const char* basis : {"dct", "pixel", "low_rank"}) {
    CHECK(message_of<RunError>([&] {
            Prior(old, f.process, {"gaussian", basis, 0});
          }) ==
          "sample.prior = \"gaussian\" needs the covariance of the clean images, which this checkpoint does not hold, "
          "because an earlier version wrote it; use prior = \"empirical\", or train again");
  }
  CHECK_NOTHROW(Prior(old, f.process, {"empirical", "dct", 0}).draw(0, 1, at::kDouble));
  CHECK_NOTHROW(Prior(old, f.process, {"noise", "dct", 0}).draw(0, 1, at::kDouble));
  CHECK(old.named().size() == 3);
}

TEST_CASE("the noise prior is sigma_1 times standard normal noise") {
  const Fixture f(without_corruption(), gaussian_images(50, 4));
  const int64_t n = 20000;
  const at::Tensor x = f.draw("noise", "dct", 0, n).x_1;
  check_covariance(covariance(x), diagonal(at::ones({16}, at::kDouble) * (sigma_1 * sigma_1)), n, 6);
  CHECK(x.mean(at::IntArrayRef{0}).abs().max().item<double>() < 6 * sigma_1 / std::sqrt(double(n)));
}

TEST_CASE("the empirical prior starts from pool images, each with the key that corrupted it") {
  // Without noise at the end: x_1 is C_1 x_0 itself. No byte is 0 in [-1, 1], so a zero is a masked pixel.
  const Fixture f(half_masked(), gaussian_images(40, 4), 0);
  const Start start = f.draw("empirical", "dct", 0, 40);
  const Points at = f.process.at(1.0, start.keys);
  CHECK(bit_equal(f.process.corrupt(at, start.x_1), start.x_1));
  const std::vector<double> mask = numbers(f.process.corrupt(at, at::ones({40, 1, 4, 4}, at::kDouble))),
                            x = numbers(start.x_1);
  int masked = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    CHECK((x[i] == 0) == (mask[i] == 0));
    masked += x[i] == 0;
  }
  CHECK(masked == Approx(320).margin(80));
  // As many samples as images: each is used once.
  std::set<std::vector<double>> used, pool;
  for (int64_t i = 0; i < 40; ++i) {
    used.insert(numbers(start.x_1[i]));
    pool.insert(numbers(f.statistics.pool[i]));
  }
  CHECK(used == pool);
  CHECK(std::set<uint64_t>(start.keys.begin(), start.keys.end()).size() == 40);
}

TEST_CASE("samples depend on seed and number alone, not on how a batch is split") {
  Fixture f(half_masked(), gaussian_images(40, 4));
  f.statistics.mixture = estimate_mixture_start(f.source, f.statistics.gaussian_images(), f.process, 3, 2);
  for (const auto& [prior, basis] : {std::pair("empirical", "dct"),
                                     {"noise", "dct"},
                                     {"gaussian", "dct"},
                                     {"gaussian", "pixel"},
                                     {"gaussian", "low_rank"},
                                     {"mixture", "dct"}}) {
    const Start whole = f.draw(prior, basis, 0, 6), a = f.draw(prior, basis, 0, 2), b = f.draw(prior, basis, 2, 4);
    CHECK(largest_difference(at::cat({a.x_1, b.x_1}), whole.x_1) <=
          (std::string(prior) == "gaussian" || std::string(prior) == "mixture" ? 1e-13 : 0));
    std::vector<uint64_t> keys = a.keys;
    keys.insert(keys.end(), b.keys.begin(), b.keys.end());
    CHECK(keys == whole.keys);
    CHECK_FALSE(bit_equal(whole.x_1, f.draw(prior, basis, 6, 6).x_1));
  }
}

TEST_CASE("statistics survive the way through a checkpoint's names") {
  const Fixture f(half_masked(), gaussian_images(40, 4));
  const NamedTensors named = f.statistics.named();
  CHECK(named.size() == 7);
  const PriorStatistics back = PriorStatistics::from(named);
  CHECK(bit_equal(back.pool, f.statistics.pool));
  CHECK(bit_equal(back.mean, f.statistics.mean));
  CHECK(bit_equal(back.dct_variance, f.statistics.dct_variance));
  CHECK(bit_equal(back.pixel_covariance, f.statistics.pixel_covariance));
  CHECK(bit_equal(back.low_rank, f.statistics.low_rank));
  CHECK(bit_equal(back.residual_variance, f.statistics.residual_variance));
  for (int64_t i = 0; i < 40; ++i)
    CHECK(back.pool_keys[i].item<int64_t>() == f.statistics.pool_keys[i].item<int64_t>());
}

TEST_CASE("the whole covariance is kept up to 1,024 elements and refused above") {
  const Fixture small(without_corruption(), gaussian_images(4, 32)),
      large(without_corruption(), gaussian_images(4, 33));
  CHECK(small.statistics.pixel_covariance.defined());
  CHECK_FALSE(large.statistics.pixel_covariance.defined());
  CHECK(large.statistics.named().size() == 6);
  CHECK(message_of<RunError>([&] { large.draw("gaussian", "pixel", 0, 1); }) ==
        "sample.basis = \"pixel\" needs the whole covariance, which is kept for images of at most 1024 elements; use "
        "basis = \"low_rank\" or \"dct\"");
  CHECK_NOTHROW(large.draw("gaussian", "dct", 0, 1));
  CHECK_NOTHROW(large.draw("gaussian", "low_rank", 0, 1));
}

TEST_CASE("a prior says what it is") {
  const Fixture f(without_corruption(), gaussian_images(4, 4));
  const auto words = [&](const char* prior, const char* basis) {
    return Prior(f.statistics, f.process, {prior, basis, 0}).describe();
  };
  CHECK(words("empirical", "dct") ==
        "empirical: every trajectory starts from a corrupted training image (C_1 x_0 + sigma_1 eps), so samples may "
        "stay near "
        "that image");
  CHECK(words("noise", "dct") == "noise: trajectories start from sigma_1 eps");
  CHECK(words("gaussian", "pixel") ==
        "gaussian (pixel): trajectories start from C_1 x + sigma_1 eps, x Gaussian with the mean and covariance of the "
        "training images");
}

TEST_CASE("calibration images are different ones, chosen by seed") {
  const std::vector<int64_t> some = choose_images(100, 30, 1);
  CHECK(some.size() == 30);
  CHECK(std::set<int64_t>(some.begin(), some.end()).size() == 30);
  CHECK(*std::max_element(some.begin(), some.end()) < 100);
  CHECK(choose_images(100, 30, 1) == some);
  CHECK(choose_images(100, 30, 2) != some);
  std::vector<int64_t> all = choose_images(10, 99, 1);
  std::sort(all.begin(), all.end());
  CHECK(all == std::vector<int64_t>({0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}
