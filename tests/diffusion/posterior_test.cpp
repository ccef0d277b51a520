// Projection and guidance: against E[x_0 | x_t, y] of Gaussian data, and their samples against its posterior.
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "tests/diffusion/restoration.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

// Data N(0, I): what the projection takes all data for.
Text white() {
  Text text;
  text.model = "[model]\ntype = \"wiener\"\nsource = \"power_law\"\nexponent = 0.0\n";
  return text;
}

}  // namespace

TEST_CASE(
    "on data of its law the projection is E[x_0 | x_t, y], whatever the model's and the measurement's corruption") {
  struct Data {
    Text text;
    ImageLaw law;
  };
  std::vector<Data> all(3, {white(), white_law});
  all[1].text.corruption = "[corruption]\ntype = \"pixel_mask\"\n";
  all[1].text.model += "basis = \"pixel\"\n";
  const at::Tensor k = at::arange(4, at::kDouble).square();
  const at::Tensor power = 2 / (1 + k.view({4, 1}) + k.view({1, 4}));
  all[2].text.model = "[model]\ntype = \"wiener\"\nsource = \"power_law\"\namplitude = 2.0\nexponent = 1.0\n";
  all[2].law = {1, power.mean().item<double>()};
  for (const Data& data : all) {
    const Exact e(data.text);
    at::Tensor prior = at::eye(16, at::kDouble);  // its inverse covariance
    if (data.law.exponent != 0) {
      const at::Tensor basis = dct(at::eye(16, at::kDouble).view({16, 1, 4, 4})).view({16, 16}).t();
      prior = at::matmul(basis.t(), basis / power.view({16, 1}));
    }
    for (const char* id : {"pixel_mask", "heat_blur"}) {
      const std::shared_ptr<const Corruption> other = corruption(id, "", {1, 4, 4});
      const double level = 0.6, sigma_y = 0.3;
      const Measurement a(other, level, {11, 12, 13}, sigma_y);
      const at::Tensor y = noise({3, 1, 4, 4}, 15), x_t = noise({3, 1, 4, 4}, 16);
      const ProjectedDenoiser projected(e.denoiser, a, y, data.law, exact);
      for (const double t : {0.1, 0.5, 1.0}) {
        INFO(id << " at t = " << t << ", exponent " << data.law.exponent);
        const Points at = e.setup.process.at(t, e.keys);
        const at::Tensor found = projected.x0_hat(at, x_t);
        for (int64_t b = 0; b < 3; ++b) {
          const at::Tensor m = matrix_of(*other, level, 11 + static_cast<uint64_t>(b), 4);
          const at::Tensor c = matrix_of(*e.setup.corruption, at.level[0], e.keys[static_cast<size_t>(b)], 4);
          const double of_y = 1 / (sigma_y * sigma_y), of_x = 1 / (at.sigma[0] * at.sigma[0]);
          const at::Tensor precision = prior + at::matmul(c.t(), c) * of_x + at::matmul(m.t(), m) * of_y;
          const at::Tensor expected = at::linalg_solve(
              precision, at::matmul(c.t(), column(x_t, b)) * of_x + at::matmul(m.t(), column(y, b)) * of_y);
          CHECK(largest_difference(column(found, b), expected) < 1e-9);
        }
      }
    }
  }
}

TEST_CASE("an observation without noise is met within half a byte, and counts as one of bytes") {
  const Exact e(Text{}, 8);
  const std::shared_ptr<const Corruption> mask = corruption("pixel_mask", "", {1, 8, 8});
  const Measurement a(mask, 0.5, {11, 12, 13}, 0), of_bytes(mask, 0.5, {11, 12, 13}, byte_noise);
  const at::Tensor y = a.apply(noise({3, 1, 8, 8}, 17)), x_t = noise({3, 1, 8, 8}, 18);
  const Points at = e.setup.process.at(0.5, e.keys);
  const at::Tensor before = e.denoiser.x0_hat(at, x_t);
  for (const ImageLaw& law : {white_law, ImageLaw{}}) {
    const at::Tensor after = ProjectedDenoiser(e.denoiser, a, y, law, exact).x0_hat(at, x_t);
    CHECK(largest_difference(a.apply(after), y) < 1.0 / 255);
    CHECK(largest_difference(after, before) > 0.1);
    CHECK(bit_equal(after, ProjectedDenoiser(e.denoiser, of_bytes, y, law, exact).x0_hat(at, x_t)));
  }
  CHECK(bit_equal(GuidedDenoiser(e.denoiser, a, y).x0_hat(at, x_t),
                  GuidedDenoiser(e.denoiser, of_bytes, y).x0_hat(at, x_t)));
}

TEST_CASE("without noise in y, what A does not see is still held to x_t") {
  Text text;
  text.corruption = "[corruption]\ntype = \"identity\"\n";
  text.noise = "[noise]\ntype = \"geometric\"\nsigma_min = 0.01\nsigma_max = 0.01\n";
  const Exact e(text, 8);
  const Measurement a(corruption("pixel_mask", "", {1, 8, 8}), 0.5, {11, 12, 13}, 0);
  const at::Tensor x_t = noise({3, 1, 8, 8}, 18), y = a.apply(x_t + 0.1 * noise({3, 1, 8, 8}, 19));
  const Points at = e.setup.process.at(0.5, e.keys);
  const at::Tensor before = e.denoiser.x0_hat(at, x_t);
  const at::Tensor hidden = 1 - a.apply(at::full({3, 1, 8, 8}, 1.0, at::kDouble));
  const auto moved = [&](const ImageLaw& law) {
    return largest_difference(ProjectedDenoiser(e.denoiser, a, y, law, exact).x0_hat(at, x_t) * hidden,
                              before * hidden);
  };
  CHECK(moved(white_law) < 1e-12);
  CHECK(moved({}) < 0.01);  // the path's sigma, of corrections up to 0.1
  CHECK(moved({}) > 1e-6);
}

TEST_CASE("the projected probability flow of white data ends in the posterior") {
  Text text = white();
  text.corruption = "[corruption]\ntype = \"identity\"\n";
  text.noise = "[noise]\ntype = \"geometric\"\nsigma_min = 0.001\nsigma_max = 50.0\nsaturation = 1.0\n";
  const Exact e(text, 4, 2);
  const double sigma_y = 0.5;
  const std::shared_ptr<const Corruption> mask = corruption("pixel_mask", "", {1, 4, 4});
  const Measurement a(mask, 0.5, {11, 11}, sigma_y);
  const at::Tensor one = noise({1, 1, 4, 4}, 19), y = at::cat({one, one});
  // The start's standard deviation, to either side: half the difference is the posterior's, the mean its mean.
  const double spread = std::sqrt(1 + 50.0 * 50.0);
  const at::Tensor ones = at::full({1, 1, 4, 4}, spread, at::kDouble);
  const at::Tensor x =
      e.run(ProjectedDenoiser(e.denoiser, a, y, white_law, exact), "ddim", at::cat({ones, ones * -1}), 400).x;
  const at::Tensor seen = a.apply(at::full({2, 1, 4, 4}, 1.0, at::kDouble))[0];
  const double information = 1 / (sigma_y * sigma_y), variance = 1 / (1 + information);
  CHECK(largest_difference((x[0] + x[1]) / 2, y[0] * seen * (information * variance)) < 0.02);
  const at::Tensor expected = seen * std::sqrt(variance) + (1 - seen);
  CHECK(largest_difference((x[0] - x[1]) / 2, expected) < 0.03);
}

TEST_CASE("the guidance's direction is minus half the gradient of |y - A x0_hat(x_t)|^2") {
  for (const char* model : {"wiener", "empirical"}) {
    Text text;
    if (std::string(model) == "empirical") text.model = "[model]\ntype = \"empirical\"\ncount = 5\n";
    Exact e(text, 4, 2);
    if (std::string(model) == "empirical") {
      const TestData data(2.0, {noise({5, 1, 4, 4}, 20)});
      e.model.fit(e.params, data, *e.setup.corruption);
      e.params.changed();
    }
    const Measurement a(corruption("pixel_mask", "", {1, 4, 4}), 0.4, {11, 12}, 0.1);
    const at::Tensor y = noise({2, 1, 4, 4}, 21), x = noise({2, 1, 4, 4}, 22), u = noise({2, 1, 4, 4}, 23);
    const GuidedDenoiser guided(e.denoiser, a, y);
    const Points at = e.setup.process.at(0.8, e.keys);
    const auto half_misfit = [&](double h) {
      return (y - a.apply(e.denoiser.x0_hat(at, x + h * u))).square().flatten(1).sum(1) / 2;
    };
    const double h = 1e-5;
    const at::Tensor slope = (half_misfit(h) - half_misfit(-h)) / (2 * h);
    const GuidedDenoiser::Estimate estimate = guided.estimate(at, x);
    CHECK(largest_difference(slope, (estimate.v * u).flatten(1).sum(1) * -1) < 1e-6);
    CHECK(slope.abs().min().item<double>() > 1e-4);
    CHECK(largest_difference(estimate.x0_hat, e.denoiser.x0_hat(at, x)) == 0);
  }
}

TEST_CASE("where A and C are I and data is white, guidance of strength 1 is E[x_0 | x_t, y]") {
  Text text = white();
  text.corruption = "[corruption]\ntype = \"identity\"\n";
  const Exact e(text);
  const double sigma_y = 0.3;
  const Measurement a(e.setup.corruption, 1, e.keys, sigma_y);
  const at::Tensor y = noise({3, 1, 4, 4}, 24), x_t = noise({3, 1, 4, 4}, 25);
  const Points at = e.setup.process.at(0.7, e.keys);
  const double of_y = 1 / (sigma_y * sigma_y), of_x = 1 / (at.sigma[0] * at.sigma[0]);
  const at::Tensor expected = (x_t * of_x + y * of_y) / (1 + of_x + of_y);
  CHECK(largest_difference(GuidedDenoiser(e.denoiser, a, y).x0_hat(at, x_t), expected) < 1e-10);
  const at::Tensor half = GuidedDenoiser(e.denoiser, a, y, 0.5).x0_hat(at, x_t);
  CHECK(largest_difference(half, (expected + e.denoiser.x0_hat(at, x_t)) / 2) < 1e-10);
  CHECK(bit_equal(GuidedDenoiser(e.denoiser, a, y, 0).x0_hat(at, x_t), e.denoiser.x0_hat(at, x_t)));
}

TEST_CASE("guidance lowers the misfit and is finite where there is nothing to follow") {
  const Exact e(Text{}, 8);
  const Measurement a(corruption("pixel_mask", "", {1, 8, 8}), 0.4, {11, 12, 13}, 0);
  const at::Tensor y = a.apply(noise({3, 1, 8, 8}, 26)), x_t = noise({3, 1, 8, 8}, 27);
  const Points at = e.setup.process.at(0.5, e.keys);
  const auto misfit = [&](const at::Tensor& x0_hat) { return (y - a.apply(x0_hat)).square().flatten(1).sum(1); };
  const at::Tensor before = misfit(e.denoiser.x0_hat(at, x_t));
  CHECK((misfit(GuidedDenoiser(e.denoiser, a, y).x0_hat(at, x_t)) < before * 0.9).all().item<bool>());
  const Measurement blind(corruption("pixel_mask", "", {1, 8, 8}), 1, {11, 12, 13}, 0);
  CHECK(bit_equal(GuidedDenoiser(e.denoiser, blind, y * 0).x0_hat(at, x_t), e.denoiser.x0_hat(at, x_t)));
}

TEST_CASE("a start agrees with y where x_1 shows it, and stays where x_1 shows nothing") {
  Text text;
  text.corruption = "[corruption]\ntype = \"heat_blur\"\nstd_max = 40.0\n";  // the mean brightness alone is left
  text.noise = "[noise]\ntype = \"geometric\"\nsigma_min = 0.01\nsigma_max = 0.01\n";
  const Exact e(text, 8);
  const Measurement a(corruption("pixel_mask", "", {1, 8, 8}), 0.5, e.keys, 0.01);
  const at::Tensor y = a.apply(at::full({3, 1, 8, 8}, 0.7, at::kDouble)),
                   x_1 = at::full({3, 1, 8, 8}, -0.4, at::kDouble);
  const at::Tensor start = posterior_start(e.denoiser, a, y, x_1, e.keys);
  CHECK(largest_difference(start, x_1 * 0 + 0.7) < 0.1);  // its mean is not seen, half of its pixels are
  Text blind;
  blind.corruption = "[corruption]\ntype = \"pixel_mask\"\n";
  blind.model += "basis = \"pixel\"\n";
  const Exact masked(blind, 8);
  CHECK(bit_equal(posterior_start(masked.denoiser, a, y, x_1, masked.keys), x_1));
}

TEST_CASE("every method samples the posterior of Gaussian data, and the mean of samples is better than y and A^+ y") {
  const int64_t side = 8, n = 24;
  const double sigma_y = 0.05;
  Text text;
  text.noise = "[noise]\ntype = \"geometric\"\nsigma_min = 0.01\nsigma_max = 0.1\nsaturation = 1.0\n";
  text.corruption = "[corruption]\ntype = \"heat_blur\"\nstd_max = 4.0\n";
  text.model += "amplitude = 5.0\n";
  const Exact e(text, side, n);
  const at::Tensor k = at::arange(side, at::kDouble).square();
  const at::Tensor power = (1 + k.view({side, 1}) + k.view({1, side})).pow(-1.5) * 5;
  const at::Tensor like = at::zeros({n, 1, side, side}, at::kDouble);
  const auto image = [&](uint32_t draw) {
    return inverse_dct(normal_like(like, 31, Purpose::test, e.sample, 0, draw) * power.sqrt());
  };
  const auto x_1 = [&](uint32_t draw) {
    const at::Tensor eps = normal_like(like, 32, Purpose::test, e.sample, 0, draw);
    return e.setup.process.noisy(e.setup.process.at(1, e.keys), image(1 + draw), eps);
  };
  const at::Tensor x_0 = image(0);
  const auto error = [&](const at::Tensor& x) { return (x - x_0).square().mean().item<double>(); };
  const std::vector<Case> cases = {{"blur", e.setup.corruption, 1.2, e.keys},
                                   {"mask", corruption("pixel_mask", "", {1, side, side}), 0.5, e.keys},
                                   {"downsample", corruption("downsample", "factor = 2", {1, side, side}), 1, e.keys}};
  for (const Case& c : cases) {
    const Measurement a(c.a, c.level, c.keys, sigma_y);
    const at::Tensor y = a.observe(x_0, 5, e.sample), inverted = pseudo_inverse(a, y);
    // A sample of the posterior is twice as far from x_0 as its mean.
    const double of_sample = 2 * posterior_variance(c, sigma_y, power);
    const ProjectedDenoiser projected(e.denoiser, a, y);
    const GuidedDenoiser guided(e.denoiser, a, y);
    const std::vector<std::pair<std::string, const Denoiser*>> methods = {{"projection", &projected},
                                                                          {"guidance", &guided}};
    const at::Tensor start = posterior_start(e.denoiser, a, y, x_1(0), e.keys);
    for (const std::string sampler : {"naive", "momentum", "ancestral", "ddim", "multistep"}) {
      for (const auto& [method, denoiser] : methods) {
        const double found = error(e.run(*denoiser, sampler, start, 20).x);
        INFO(c.name << " by " << method << " with " << sampler << ": " << found << ", a sample: " << of_sample);
        CHECK(found < 1.6 * of_sample);
        CHECK(found > 0.4 * of_sample);
      }
    }
    for (const auto& [method, denoiser] : methods) {
      at::Tensor mean = like.clone();
      for (uint32_t draw = 0; draw < 8; ++draw)
        mean += e.run(*denoiser, "ddim", posterior_start(e.denoiser, a, y, x_1(draw), e.keys), 12).x / 8;
      INFO(c.name << " by " << method << ": " << error(mean) << ", observed " << error(y) << ", inverted "
                  << error(inverted));
      CHECK(error(mean) < error(y));
      CHECK(error(mean) < error(inverted));
    }
  }
}
