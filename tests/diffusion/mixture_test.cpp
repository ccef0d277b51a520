#include "core/diffusion/mixture.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/diag.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <numbers>
#include <numeric>

#include "core/base/random.hpp"
#include "tests/diffusion/setup.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

// (n, r), standard normal.
at::Tensor normals(int64_t n, int64_t r, uint64_t seed) {
  std::vector<uint64_t> sample(static_cast<size_t>(n));
  std::iota(sample.begin(), sample.end(), uint64_t{0});
  return normal_like(at::zeros({n, r}, at::kDouble), seed, Purpose::test, sample, 0);
}

at::Tensor doubles(const std::vector<double>& values) {
  return at::tensor(at::ArrayRef<double>(values), at::TensorOptions(at::kDouble));
}

MixtureOptions options_for(int64_t components, int64_t dimensions, double floor = 1e-6) {
  MixtureOptions options;
  options.components = components;
  for (int64_t k = 0; k < components; ++k) options.first_means.push_back(k);
  options.floor.assign(static_cast<size_t>(dimensions), floor);
  return options;
}

// Three Gaussians in the plane, image n of component n mod 3.
struct Planted {
  std::vector<std::vector<double>> means = {{-3, 0}, {3, 1}, {0, 4}};
  std::vector<at::Tensor> factors = {doubles({1, 0, 0.5, 0.6}).view({2, 2}), doubles({0.4, 0, 0, 1.2}).view({2, 2}),
                                     doubles({0.8, 0, -0.3, 0.5}).view({2, 2})};

  at::Tensor draw(int64_t n) const {
    at::Tensor z = normals(n, 2, 5);
    for (int64_t i = 0; i < n; ++i) {
      const size_t k = static_cast<size_t>(i % 3);
      z[i].copy_(doubles(means[k]) + at::matmul(factors[k], z[i].clone()));
    }
    return z;
  }
};

at::Tensor covariance_of(const at::Tensor& z) {
  const at::Tensor centred = z - z.mean(at::IntArrayRef{0});
  return at::matmul(centred.t(), centred) / static_cast<double>(z.size(0));
}

at::Tensor covariances(const Mixture& m) { return at::matmul(m.factors, m.factors.transpose(1, 2)); }

}  // namespace

TEST_CASE("the log-density of a mixture is that of its formula") {
  const Mixture m{doubles({0.25, 0.75}), doubles({1, -1, 0, 2}).view({2, 2}),
                  doubles({0.5, 0, 0.2, 1.5, 2, 0, -1, 0.7}).view({2, 2, 2})};
  const at::Tensor z = normals(7, 2, 1);
  const std::vector<double> found = numbers(m.log_density(z)), at = numbers(z);
  for (size_t i = 0; i < 7; ++i) {
    double p = 0;
    for (size_t k = 0; k < 2; ++k) {
      const std::vector<double> mean = numbers(m.means[static_cast<int64_t>(k)]),
                                l = numbers(m.factors[static_cast<int64_t>(k)]);
      const double a = (at[2 * i] - mean[0]) / l[0], b = (at[2 * i + 1] - mean[1] - l[2] * a) / l[3];
      p += (k == 0 ? 0.25 : 0.75) * std::exp(-0.5 * (a * a + b * b)) / (2 * std::numbers::pi * l[0] * l[3]);
    }
    CHECK(found[i] == Approx(std::log(p)).epsilon(1e-12));
  }
}

TEST_CASE("one component is the mean and the covariance of the data after one step") {
  const at::Tensor z = Planted().draw(300);
  const MixtureFit fit = fit_mixture(z, options_for(1, 2));
  CHECK(largest_difference(fit.mixture.means[0], z.mean(at::IntArrayRef{0})) < 1e-13);
  CHECK(largest_difference(covariances(fit.mixture)[0], covariance_of(z)) < 1e-12);
  CHECK(numbers(fit.mixture.weights) == std::vector<double>{1});
  CHECK(fit.log_likelihood.size() == 3);  // before the step, after it, and where it gains nothing any more
}

TEST_CASE("a planted mixture of three Gaussians is found") {
  const int64_t n = 6000;
  const Planted planted;
  MixtureOptions options = options_for(3, 2);
  options.iterations = 200;
  const Mixture m = fit_mixture(planted.draw(n), options).mixture;
  for (size_t k = 0; k < 3; ++k) {
    const at::Tensor truth = doubles(planted.means[k]);
    const int64_t at = (m.means - truth).square().sum(1).argmin().item<int64_t>();
    const at::Tensor s = at::matmul(planted.factors[k], planted.factors[k].t());
    CHECK(m.weights[at].item<double>() == Approx(1.0 / 3).margin(0.02));
    for (int64_t i = 0; i < 2; ++i) {
      const double error = std::sqrt(s[i][i].item<double>() / (static_cast<double>(n) / 3));
      CHECK(std::abs((m.means[at][i] - truth[i]).item<double>()) < 4 * error);
    }
    CHECK(largest_difference(covariances(m)[at], s) < 0.15);
  }
}

TEST_CASE("the likelihood never falls, also where the floor holds covariances up and where directions are degenerate") {
  at::Tensor flat = Planted().draw(900);
  flat.select(1, 1).copy_(flat.select(1, 0) * 0.5);  // on a line
  for (const auto& [z, floor] : {std::pair(Planted().draw(900), 1e-6), {Planted().draw(900), 0.5}, {flat, 1e-4}}) {
    for (const int64_t components : {1, 2, 5, 9}) {
      MixtureOptions options = options_for(components, 2, floor);
      options.least_gain = -1;
      const MixtureFit fit = fit_mixture(z, options);
      REQUIRE(fit.emptied == 0);
      CHECK(fit.log_likelihood.size() == 50);
      for (size_t i = 1; i < fit.log_likelihood.size(); ++i)
        CHECK(fit.log_likelihood[i] >= fit.log_likelihood[i - 1] - 1e-12);
    }
  }
}

TEST_CASE("no variance in any direction is below the floor, and what is above it stays") {
  at::Tensor z = normals(2000, 2, 3) * doubles({2, 0.01});
  MixtureOptions options = options_for(1, 2);
  options.floor = {0.01, 0.04};
  const at::Tensor s = covariances(fit_mixture(z, options).mixture)[0], truth = covariance_of(z);
  CHECK(s[0][0].item<double>() == Approx(truth[0][0].item<double>()).epsilon(1e-5));
  CHECK(s[1][1].item<double>() == Approx(0.04).epsilon(1e-6));
}

TEST_CASE("a component that holds fewer than two images a dimension gives them to the others") {
  at::Tensor z = at::cat({normals(400, 2, 1), normals(3, 2, 2) * 0.01 + 50});  // three images far away
  MixtureOptions options = options_for(2, 2);
  options.first_means = {0, 400};
  const MixtureFit fit = fit_mixture(z, options);
  CHECK(fit.emptied == 1);
  CHECK(fit.mixture.components() == 1);
  CHECK(fit.mixture.weights.sum().item<double>() == Approx(1).epsilon(1e-14));
  CHECK(largest_difference(covariances(fit.mixture)[0], covariance_of(z)) < 1e-9);
}

TEST_CASE("components that no image is near give way, and nothing becomes infinite") {
  at::Tensor z = normals(200, 3, 1) * 1e-3;
  z[199].fill_(1e6);
  MixtureOptions options = options_for(4, 3);
  options.first_means = {199, 0, 1, 2};
  const MixtureFit fit = fit_mixture(z, options);
  CHECK(fit.mixture.factors.isfinite().all().item<bool>());
  CHECK(fit.mixture.log_density(z).isfinite().all().item<bool>());
}

TEST_CASE("beyond the leading dimensions a component has mean and covariance of its images, shrunk to the common one") {
  // Two groups that the first dimension tells apart, so that every responsibility is 0 or 1.
  const int64_t n = 200;
  at::Tensor z = normals(n, 4, 9);
  for (int64_t i = 0; i < n; ++i) z[i][0].add_(i % 2 == 0 ? -40 : 40);
  MixtureOptions options = options_for(2, 4);
  options.leading = 1;
  const Mixture m = fit_mixture(z, options).mixture;
  std::vector<at::Tensor> own;
  for (int64_t k = 0; k < 2; ++k) own.push_back(covariance_of(z.slice(0, k, n, 2)));
  const at::Tensor common = (own[0] + own[1]) / 2;
  for (int64_t k = 0; k < 2; ++k) {
    const double half = static_cast<double>(n) / 2;
    CHECK(largest_difference(m.means[k], z.slice(0, k, n, 2).mean(at::IntArrayRef{0})) < 1e-10);
    CHECK(largest_difference(covariances(m)[k], (half * own[static_cast<size_t>(k)] + 4 * common) / (half + 4)) < 1e-9);
  }
}

TEST_CASE("the bytes of a mixture do not depend on the number of threads") {
  const at::Tensor z = at::cat({Planted().draw(3001), normals(3001, 1, 8)}, 1);
  const int before = at::get_num_threads();
  std::vector<at::Tensor> found;
  for (const int threads : {1, 2, 3}) {
    at::set_num_threads(threads);
    const Mixture m = fit_mixture(z, options_for(7, 3)).mixture;
    CHECK(at::get_num_threads() == threads);
    found.push_back(at::cat({m.weights, m.means.flatten(), m.factors.flatten(), m.log_density(z)}));
  }
  at::set_num_threads(before);
  CHECK(bit_equal(found[0], found[1]));
  CHECK(bit_equal(found[0], found[2]));
}

TEST_CASE("a fit that is cancelled ends") {
  const std::atomic<bool> cancel = true;
  MixtureOptions options = options_for(1, 2);
  options.cancel = &cancel;
  CHECK_THROWS_AS(fit_mixture(Planted().draw(30), options), Cancelled);
}
