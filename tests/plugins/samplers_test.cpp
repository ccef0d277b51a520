// The samplers on data where everything is known: each frequency of Gaussian data is mapped linearly, so that the
// distribution of the result follows from the responses to the start and to the noise of each step, without sampling.
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <map>

#include "core/diffusion/trajectory.hpp"
#include "tests/plugins/support.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

constexpr int64_t side = 16;
const SampleShape sample = {1, side, side};

// A corruption, its path, and the exact denoiser of power-law data.
struct Gaussian {
  Gaussian(std::shared_ptr<const Corruption> corruption, std::vector<double> level, std::vector<double> sigma)
      : process(std::move(corruption), Path(std::move(level), std::move(sigma))),
        model(plugin("wiener"), settings(plugin("wiener")), sample),
        params({at::zeros({1, side, side}, at::kDouble), at::zeros({1, side, side}, at::kDouble)}) {
    model.init(params, 0);
  }
  Process process;
  Model model;
  ParamSet params;
};

Gaussian blurred() {
  return {corruption("heat_blur", "std_max = 4.0", sample), levels("linear", "power = 2.0", TestData(4.0)),
          sigmas("geometric", "saturation = 1.0")};
}
Gaussian noise_only() {
  return {corruption("identity", "", sample), std::vector<double>(1025, 0.0),
          sigmas("geometric", "sigma_max = 5.0\nsaturation = 1.0")};
}

// 0, 1/steps, ..., 1
std::vector<double> nodes_to_zero(int64_t steps) {
  std::vector<double> nodes;
  for (int64_t k = 0; k <= steps; ++k) nodes.push_back(static_cast<double>(k) / static_cast<double>(steps));
  return nodes;
}

// From x_1 down to t = 0; `noise` says what each step adds.
at::Tensor run(const Gaussian& g, const std::string& sampler_id, const std::string& toml, const at::Tensor& x_1,
               int64_t steps, std::function<bool(uint32_t, uint32_t, at::Tensor&)> noise = {}) {
  const Sampler sampler(plugin(sampler_id), settings(plugin(sampler_id), toml));
  std::vector<uint64_t> numbers;
  for (int64_t b = 0; b < x_1.size(0); ++b) numbers.push_back(static_cast<uint64_t>(b));
  TrajectoryOptions options;
  options.nodes = nodes_to_zero(steps);
  options.last_denoise = false;
  options.replace_noise = std::move(noise);
  return run_trajectory(Denoiser(g.model, g.params, g.process), sampler, x_1, numbers, numbers, options).x;
}

// One image of a batch has all DCT coefficients 1, the others are 0.
at::Tensor impulse(int64_t batch, int64_t where) {
  static const at::Tensor image = inverse_dct(at::ones({1, side, side}, at::kDouble));
  at::Tensor x = at::zeros({batch, 1, side, side}, at::kDouble);
  x.select(0, where).copy_(image);
  return x;
}

// Variance of each DCT coefficient of the result: image 0 of the batch carries the response to the start, image k that
// to the noise of step k.
at::Tensor result_variance(const Gaussian& g, const std::string& sampler_id, int64_t steps) {
  const at::Tensor p = g.params.tensors()[1];
  const at::Tensor c_1 = dct(g.process.corrupt(g.process.at(1.0, {0}), impulse(1, 0)));
  const double sigma_1 = g.process.path().sigma(1);
  const at::Tensor start = (c_1 * c_1 * p + sigma_1 * sigma_1).sqrt();
  at::Tensor x_1 = at::zeros({steps + 1, 1, side, side}, at::kDouble);
  x_1.narrow(0, 0, 1).copy_(inverse_dct(start));
  const at::Tensor x_0 = run(g, sampler_id, "", x_1, steps, [&](uint32_t step, uint32_t draw, at::Tensor& out) {
    REQUIRE(draw == 0);
    out.copy_(impulse(steps + 1, step));
    return true;
  });
  return dct(x_0).square().sum(0);
}

// W2 between N(0, variance) and the target N(0, p + sigma_0^2), sigma_0 = 0.01.
double error(const Gaussian& g, const std::string& sampler_id, int64_t steps) {
  const at::Tensor target = (g.params.tensors()[1] + 1e-4).sqrt();
  return (result_variance(g, sampler_id, steps).sqrt() - target).square().sum().sqrt().item<double>();
}

}  // namespace

TEST_CASE("samplers reach the closed-form error on blurred Gaussian data") {
  struct Row {
    int64_t evaluations;
    std::map<std::string, double> error;
  };
  const Row table[] = {
      {10, {{"naive", 0.3427}, {"momentum", 0.0580}, {"ancestral", 0.1670}, {"ddim", 0.1405}, {"multistep", 0.0149}}},
      {25, {{"naive", 0.3209}, {"momentum", 0.0241}, {"ancestral", 0.0722}, {"ddim", 0.0594}, {"multistep", 0.0024}}},
      {50, {{"naive", 0.3372}, {"momentum", 0.0122}, {"ancestral", 0.0370}, {"ddim", 0.0303}, {"multistep", 0.0007}}}};
  const Gaussian g = blurred();
  for (const Row& row : table) {
    for (const auto& [id, expected] : row.error) {
      INFO(id << " with " << row.evaluations << " evaluations");
      CHECK(std::abs(error(g, id, row.evaluations) - expected) <= 0.5e-4);
    }
  }
}

TEST_CASE("samplers reach the closed-form error under noise alone") {
  const std::map<std::string, double> expected = {
      {"naive", 0.6382}, {"momentum", 0.6611}, {"ancestral", 0.4026}, {"ddim", 0.2340}, {"multistep", 0.0282}};
  const Gaussian g = noise_only();
  for (const auto& [id, value] : expected) {
    INFO(id);
    CHECK(std::abs(error(g, id, 10) - value) <= 0.5e-4);
  }
}

TEST_CASE("ddim converges with order 1 and multistep with order 2") {
  const Gaussian g = blurred();
  CHECK(std::log2(error(g, "ddim", 60) / error(g, "ddim", 120)) == Approx(1).margin(0.1));
  CHECK(std::log2(error(g, "multistep", 60) / error(g, "multistep", 120)) == Approx(2).margin(0.2));
}

TEST_CASE("where sigma is constant, momentum and ancestral are ddim bit for bit and draw no noise") {
  for (const double sigma : {0.1, 0.0}) {
    Gaussian g(corruption("heat_blur", "std_max = 4.0", sample), levels("linear", "", TestData(4.0)),
               std::vector<double>(1025, sigma));
    const at::Tensor x_1 = noise({2, 1, side, side}, 1);
    const auto no_noise = [](uint32_t, uint32_t, at::Tensor&) -> bool { throw std::logic_error("drew noise"); };
    const at::Tensor expected = run(g, "ddim", "", x_1, 8);
    CHECK(at::equal(run(g, "momentum", "", x_1, 8, no_noise), expected));
    CHECK(at::equal(run(g, "ancestral", "", x_1, 8, no_noise), expected));
  }
}

TEST_CASE("without noise, naive and momentum are the algorithms of Cold Diffusion") {
  // A blur so weak that it can be undone in float64.
  Gaussian g(corruption("heat_blur", "std_max = 0.5", sample), levels("linear", "", TestData(0.5)),
             std::vector<double>(1025, 0.0));
  const Denoiser denoiser(g.model, g.params, g.process);
  const std::vector<uint64_t> keys = {0};
  at::Tensor naive = noise({1, 1, side, side}, 2), momentum = naive.clone();
  const at::Tensor x_1 = naive.clone();
  for (int k = 4; k > 0; --k) {
    const Points at_t = g.process.at(k / 4.0, keys), at_s = g.process.at((k - 1) / 4.0, keys);
    naive = g.process.corrupt(at_s, denoiser.x0_hat(at_t, naive));
    const at::Tensor x0_hat = denoiser.x0_hat(at_t, momentum);
    momentum = momentum - g.process.corrupt(at_t, x0_hat) + g.process.corrupt(at_s, x0_hat);
  }
  CHECK(largest_difference(run(g, "naive", "", x_1, 4), naive) < 1e-12);
  CHECK(largest_difference(run(g, "momentum", "", x_1, 4), momentum) < 1e-12);
}

TEST_CASE("multistep in log_sigma under noise alone is DPM-Solver++(2M)") {
  const Gaussian g = noise_only();
  const Denoiser denoiser(g.model, g.params, g.process);
  const std::vector<uint64_t> keys = {0};
  const at::Tensor x_1 = noise({1, 1, side, side}, 3);
  at::Tensor x = x_1.clone(), x0_hat_prev;
  double h_prev = 0;
  for (int k = 6; k > 0; --k) {
    const double t = k / 6.0, s = (k - 1) / 6.0;
    const double h = std::log(g.process.path().sigma(t) / g.process.path().sigma(s));
    const at::Tensor x0_hat = denoiser.x0_hat(g.process.at(t, keys), x);
    const double r =
        h_prev > 0 ? h_prev / h : 1;  // Lu et al. (arXiv 2211.01095), Algorithm 2, with lambda = -log sigma
    const at::Tensor d = h_prev > 0 ? x0_hat * (1 + 1 / (2 * r)) - x0_hat_prev * (1 / (2 * r)) : x0_hat;
    x = x * std::exp(-h) - d * std::expm1(-h);
    x0_hat_prev = x0_hat;
    h_prev = h;
  }
  CHECK(largest_difference(run(g, "multistep", "variable = \"log_sigma\"", x_1, 6), x) < 1e-12);
}

TEST_CASE("multistep measures steps in t where sigma stands still, also when asked for log_sigma") {
  for (const double sigma : {0.1, 0.0}) {
    Gaussian g(corruption("heat_blur", "std_max = 4.0", sample), levels("linear", "", TestData(4.0)),
               std::vector<double>(1025, sigma));
    const at::Tensor x_1 = noise({1, 1, side, side}, 4);
    CHECK(at::equal(run(g, "multistep", "variable = \"log_sigma\"", x_1, 8), run(g, "multistep", "", x_1, 8)));
  }
}

TEST_CASE("the first multistep step is ddim's, the second is not") {
  const Gaussian g = blurred();
  const at::Tensor x_1 = noise({1, 1, side, side}, 5);
  CHECK(largest_difference(run(g, "multistep", "", x_1, 1), run(g, "ddim", "", x_1, 1)) < 1e-12);
  CHECK(largest_difference(run(g, "multistep", "", x_1, 2), run(g, "ddim", "", x_1, 2)) > 1e-3);
}

TEST_CASE("every sampler evaluates the denoiser once a step") {
  const Gaussian g = blurred();
  const at::Tensor x_1 = noise({1, 1, side, side}, 6);
  const std::vector<uint64_t> number = {0};
  TrajectoryOptions options;
  options.nodes = nodes_to_zero(5);
  options.last_denoise = false;
  for (const std::string id : {"naive", "momentum", "ancestral", "ddim", "multistep"}) {
    INFO(id);
    const Sampler sampler(plugin(id), settings(plugin(id)));
    const Denoiser denoiser(g.model, g.params, g.process);
    CHECK(run_trajectory(denoiser, sampler, x_1, number, number, options).nfe == 5);
  }
}
