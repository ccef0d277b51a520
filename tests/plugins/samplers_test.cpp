// One step of each sampler that does more than one thing, against its equation.
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>

#include <cmath>
#include <map>

#include "tests/plugins/gaussian_setting.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const std::vector<double> one_step = {0.5, 0.75};

at::Tensor start(int64_t batch = 1) { return noise({batch, 1, 16, 16}, 1); }

at::Tensor result(const GaussianSetting& g, const SamplerChoice& sampler, const std::vector<double>& nodes,
                  int64_t batch = 1) {
  return run(g, sampler, start(batch), nodes, use_known_noise).x;
}

// The parts of the equations.
at::Tensor d(const GaussianSetting& g, double t, const at::Tensor& x) {
  return g.denoiser().x0_hat(g.at(t, x.size(0)), x);
}
at::Tensor c(const GaussianSetting& g, double t, const at::Tensor& x) {
  return g.process.corrupt(g.at(t, x.size(0)), x);
}
double sigma(const GaussianSetting& g, double t) { return g.process.path().sigma(t); }

at::Tensor ddim_step(const GaussianSetting& g, double t, double s, const at::Tensor& x, const at::Tensor& x0) {
  return c(g, s, x0) + (x - c(g, t, x0)) * (sigma(g, s) / sigma(g, t));
}

GaussianSetting blurred_at_sigma(double sigma) {
  const SampleShape sample = {1, 16, 16};
  return {corruption("heat_blur", "std_max = 4.0", sample),
          Path(levels("linear", "", TestData(4.0)), std::vector<double>(path_points, sigma)), sample};
}

}  // namespace

TEST_CASE("the first multistep step is ddim's, the second is not") {
  const GaussianSetting g = blurred();
  for (const std::string id : {"multistep", "ancestral_multistep"}) {
    const std::string plain = id == "multistep" ? "ddim" : "ancestral";
    CHECK(largest_difference(result(g, {id}, nodes_to_zero(1)), result(g, {plain}, nodes_to_zero(1))) < 1e-12);
    CHECK(largest_difference(result(g, {id}, nodes_to_zero(2)), result(g, {plain}, nodes_to_zero(2))) > 1e-3);
  }
}

TEST_CASE("multistep measures steps in t where sigma stands still, also when asked for log_sigma") {
  for (const double level : {0.1, 0.0}) {
    const GaussianSetting g = blurred_at_sigma(level);
    const at::Tensor in_t = result(g, {"multistep"}, {0, 0.2, 0.5, 1});
    CHECK(at::equal(result(g, {"multistep", "variable = \"log_sigma\""}, {0, 0.2, 0.5, 1}), in_t));
  }
}

TEST_CASE("ancestral_multistep adds ancestral's noise to the step with the extrapolated estimate") {
  const GaussianSetting g = blurred();
  const double s = 0.2, m = 0.5, t = 1;
  const double rho_1 = std::pow(sigma(g, m) / sigma(g, t), 2), rho_2 = std::pow(sigma(g, s) / sigma(g, m), 2);
  const at::Tensor first = d(g, t, start());
  const at::Tensor x = c(g, m, first) + rho_1 * (start() - c(g, t, first)) +
                       sigma(g, m) * std::sqrt(1 - rho_1) * known_noise(2, 0, start());
  const double r = (m - s) / (2 * (t - m));
  const at::Tensor x0 = (1 + r) * d(g, m, x) - r * first;
  const at::Tensor expected =
      c(g, s, x0) + rho_2 * (x - c(g, m, x0)) + sigma(g, s) * std::sqrt(1 - rho_2) * known_noise(1, 0, start());
  CHECK(largest_difference(result(g, {"ancestral_multistep"}, {s, m, t}), expected) < 1e-12);
}

TEST_CASE("heun takes its step with the mean of the estimates at both ends") {
  const GaussianSetting g = blurred();
  const at::Tensor x = start(), x0_hat = d(g, 0.75, x);
  const at::Tensor after = d(g, 0.5, ddim_step(g, 0.75, 0.5, x, x0_hat));
  const at::Tensor expected = ddim_step(g, 0.75, 0.5, x, (x0_hat + after) / 2);
  CHECK(largest_difference(result(g, {"heun"}, one_step), expected) < 1e-12);
}

TEST_CASE("churn with nothing to raise is ddim bit for bit and draws no noise") {
  const GaussianSetting g = blurred();
  const auto no_noise = [](uint32_t, uint32_t, at::Tensor&) -> bool { throw std::logic_error("drew noise"); };
  const at::Tensor ddim = result(g, {"ddim"}, nodes_to_zero(5));
  CHECK(at::equal(run(g, {"churn", "churn = 0.0"}, start(), nodes_to_zero(5), no_noise).x, ddim));
  // At the end of the path there is nowhere to go back to.
  CHECK(at::equal(run(g, {"churn"}, start(), {0, 1}, no_noise).x, result(g, {"ddim"}, {0, 1})));
}

TEST_CASE("churn takes what it knows up to more corruption and noise, and asks again there") {
  const GaussianSetting g = blurred();
  const double t = 0.75, raised = 0.8, s = 0.5;
  const at::Tensor x = start(), x0_hat = d(g, t, x);
  const at::Tensor up = c(g, raised, x0_hat) + x - c(g, t, x0_hat) +
                        std::sqrt(std::pow(sigma(g, raised), 2) - std::pow(sigma(g, t), 2)) * known_noise(1, 0, x);
  const at::Tensor expected = ddim_step(g, raised, s, up, d(g, raised, up));
  CHECK(largest_difference(result(g, {"churn", "churn = 0.2"}, one_step), expected) < 1e-12);
}

TEST_CASE("langevin corrects its predictor's step, by an explicit step or by each image's own") {
  const GaussianSetting g = blurred();
  const double s = 0.5, variance = std::pow(sigma(g, s), 2);
  for (const std::string predictor : {"ancestral", "ddim"}) {
    const at::Tensor x = result(g, {predictor}, one_step, 2), eta = known_noise(1, 1, x);
    const at::Tensor score = (c(g, s, d(g, s, x)) - x) / variance;
    const std::string chosen = "predictor = \"" + predictor + "\"\n";
    const at::Tensor by_step = x + 0.3 * variance * score + std::sqrt(0.6 * variance) * eta;
    CHECK(largest_difference(result(g, {"langevin", chosen + "step = 0.3"}, one_step, 2), by_step) < 1e-12);
    // Song et al. (arXiv 2011.13456), Algorithm 4, with the norms of each image.
    const auto norm2 = [](const at::Tensor& v) { return v.square().sum({1, 2, 3}, true); };
    const at::Tensor eps = 2 * 0.2 * 0.2 * norm2(eta) / norm2(score);
    CHECK(std::abs((eps[0] / eps[1]).item<double>() - 1) > 1e-3);  // each image its own
    const at::Tensor by_ratio = x + eps * score + (2 * eps).sqrt() * eta;
    CHECK(largest_difference(result(g, {"langevin", chosen + "snr = 0.2"}, one_step, 2), by_ratio) < 1e-12);
  }
}

TEST_CASE("langevin corrects as often as it is told, each time with new noise") {
  const GaussianSetting g = blurred();
  const double variance = std::pow(sigma(g, 0.5), 2);
  at::Tensor x = result(g, {"ancestral"}, one_step);
  for (uint32_t draw = 1; draw <= 3; ++draw) {
    x = x + 0.3 * (c(g, 0.5, d(g, 0.5, x)) - x) + std::sqrt(0.6 * variance) * known_noise(1, draw, x);
  }
  CHECK(largest_difference(result(g, {"langevin", "step = 0.3\ncorrections = 3"}, one_step), x) < 1e-12);
}

TEST_CASE("langevin corrects nothing where there is no noise") {
  const GaussianSetting g = blurred_at_sigma(0);
  CHECK(at::equal(result(g, {"langevin"}, nodes_to_zero(4)), result(g, {"ancestral"}, nodes_to_zero(4))));
}

TEST_CASE("euler goes along dx/dt, whose derivatives are differences over 1e-4") {
  const GaussianSetting g = blurred();
  const auto slope = [&](double t, double low, double high, const at::Tensor& x) {
    const at::Tensor x0_hat = d(g, t, x);
    const double sigma_slope = (sigma(g, high) - sigma(g, low)) / (high - low);
    return (c(g, high, x0_hat) - c(g, low, x0_hat)) / (high - low) +
           (sigma_slope / sigma(g, t)) * (x - c(g, t, x0_hat));
  };
  const at::Tensor inside = start() - 0.25 * slope(0.75, 0.75 - 5e-5, 0.75 + 5e-5, start());
  CHECK(largest_difference(result(g, {"euler"}, one_step), inside) < 1e-9);
  const at::Tensor from_the_end = start() - 0.5 * slope(1, 1 - 5e-5, 1, start());
  CHECK(largest_difference(result(g, {"euler"}, {0.5, 1}), from_the_end) < 1e-9);
}

TEST_CASE("euler's substeps are steps between more nodes") {
  const GaussianSetting g = blurred();
  CHECK(largest_difference(result(g, {"euler", "substeps = 4"}, nodes_to_zero(5)),
                           result(g, {"euler"}, nodes_to_zero(20))) < 1e-9);
}

TEST_CASE("euler gives up with a reason where the tolerance takes too many substeps") {
  const GaussianSetting g = blurred();
  const SamplerChoice sampler{"euler", "tolerance = 1e-9\nmax_substeps = 1"};
  CHECK(failure([&] { result(g, sampler, nodes_to_zero(2)); }) ==
        "plugin \"euler\": step failed: gave up at t = 1.000000, between 1.000000 and 0.500000, where max_substeps = 1 "
        "is reached: allow a larger tolerance or more substeps; an operator that jumps in t, as hard masks do, has no "
        "smooth path to follow (parameter \"max_substeps\")");
}

TEST_CASE("samplers ask the network as often as they say") {
  const GaussianSetting g = blurred();
  const std::map<std::string, int64_t> evaluations = {
      {"naive", 5}, {"momentum", 5}, {"ancestral", 5}, {"ddim", 5},     {"multistep", 5}, {"ancestral_multistep", 5},
      {"heun", 10}, {"euler", 5},    {"churn", 9},     {"langevin", 10}};
  for (const auto& [id, expected] : evaluations) {
    INFO(id);
    CHECK(run(g, {id}, start(), nodes_to_zero(5)).nfe == expected);
  }
  CHECK(run(g, {"euler", "substeps = 3"}, start(), nodes_to_zero(5)).nfe == 15);
  CHECK(run(g, {"langevin", "corrections = 3"}, start(), nodes_to_zero(5)).nfe == 20);
  CHECK(run(g, {"churn", "churn = 0.0"}, start(), nodes_to_zero(5)).nfe == 5);
}

TEST_CASE("heun and langevin ask only once where a step takes all noise away") {
  const SampleShape sample = {1, 16, 16};
  const GaussianSetting g(corruption("scale", "", sample), make_path(1.0, "flow"), sample);  // sigma_0 = 0
  CHECK(run(g, {"heun"}, start(), nodes_to_zero(5)).nfe == 9);
  CHECK(run(g, {"langevin"}, start(), nodes_to_zero(5)).nfe == 9);
  const at::Tensor last = d(g, 0.2, start());
  CHECK(largest_difference(result(g, {"heun"}, {0, 0.2}), last) < 1e-12);
  // Without any noise there is a direction to be right about.
  CHECK(run(blurred_at_sigma(0), {"heun"}, start(), nodes_to_zero(5)).nfe == 10);
}
