// How far from the truth each sampler ends on Gaussian data, in figures that docs/method.md prints.
#include <ATen/ops/isfinite.h>

#include <cmath>
#include <map>

#include "tests/plugins/gaussian_setting.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

using Errors = std::map<std::string, double>;

// To four decimals. heun asks twice a step.
void require_errors(const GaussianSetting& g, int64_t evaluations, const Errors& expected) {
  for (const auto& [id, error] : expected) {
    INFO(id << " with " << evaluations << " evaluations");
    const int64_t steps = id == "heun" ? evaluations / 2 : evaluations;
    CHECK(std::abs(diagonal_error(g, by_default(id), steps) - error) <= 0.5e-4);
  }
}

using Error = std::function<double(const SamplerChoice& sampler, int64_t steps)>;

double order(const Error& error, const SamplerChoice& sampler, int64_t steps) {
  return std::log2(error(sampler, steps) / error(sampler, 2 * steps));
}

void require_orders(const Error& error, int64_t steps) {
  CHECK(order(error, {"ddim"}, steps) == Approx(1).margin(0.05));
  CHECK(order(error, by_default("heun"), steps) == Approx(2).margin(0.05));
  CHECK(order(error, by_default("multistep"), steps) == Approx(2).margin(0.2));
}

}  // namespace

TEST_CASE("samplers reach the closed-form error on blurred Gaussian data") {
  const GaussianSetting g = blurred();
  require_errors(g, 10,
                 {{"naive", 0.3427},
                  {"momentum", 0.0580},
                  {"ancestral", 0.1670},
                  {"ddim", 0.1405},
                  {"heun", 0.1253},
                  {"multistep", 0.0149},
                  {"ancestral_multistep", 0.0158}});
  require_errors(g, 25,
                 {{"naive", 0.3209},
                  {"momentum", 0.0241},
                  {"ancestral", 0.0722},
                  {"ddim", 0.0594},
                  {"heun", 0.0281},
                  {"multistep", 0.0024},
                  {"ancestral_multistep", 0.0033}});
  require_errors(g, 50,
                 {{"naive", 0.3372},
                  {"momentum", 0.0122},
                  {"ancestral", 0.0370},
                  {"ddim", 0.0303},
                  {"heun", 0.0069},
                  {"multistep", 0.0007},
                  {"ancestral_multistep", 0.0009}});
}

TEST_CASE("samplers reach the closed-form error under noise alone") {
  require_errors(noise_only(), 10,
                 {{"naive", 0.6382},
                  {"momentum", 0.6611},
                  {"ancestral", 0.4026},
                  {"ddim", 0.2340},
                  {"heun", 0.2141},
                  {"multistep", 0.0282},
                  {"ancestral_multistep", 0.0666}});
}

TEST_CASE("ddim has order 1, heun and multistep have order 2, on blurred images and under noise alone") {
  const GaussianSetting blur = blurred(), noise = noise_only();
  require_orders([&](const auto& sampler, int64_t n) { return diagonal_error(blur, sampler, n); }, 60);
  require_orders([&](const auto& sampler, int64_t n) { return diagonal_error(noise, sampler, n); }, 60);
}

TEST_CASE("the orders hold under a fading mask, singular at t = 1, on correlated pixels") {
  const GaussianSetting g = correlated(corruption("soft_mask", "", small_sample));
  require_orders([&](const auto& sampler, int64_t n) { return dense_error(g, sampler, n); }, 160);
}

TEST_CASE("the orders hold under a blur and a fading mask together, which share no basis") {
  const GaussianSetting g = correlated(composition({{"heat_blur", "std_max = 1.0"}, {"soft_mask", ""}}, small_sample));
  require_orders([&](const auto& sampler, int64_t n) { return dense_error(g, sampler, n); }, 160);
}

TEST_CASE("euler has order 1 and comes to the same law as ddim") {
  const GaussianSetting g = blurred();
  CHECK(order([&](const auto& s, int64_t n) { return diagonal_error(g, s, n); }, {"euler"}, 60) ==
        Approx(1).margin(0.05));
  CHECK(diagonal_error(g, {"euler"}, 25) == Approx(0.0710).margin(0.5e-4));
}

TEST_CASE("euler's error falls with its tolerance, and its evaluations rise") {
  const GaussianSetting g = blurred();
  const at::Tensor x_1 = noise({1, 1, 16, 16}, 1);
  std::vector<double> error;
  std::vector<int64_t> evaluations;
  for (const std::string tolerance : {"1e-2", "1e-3", "1e-4"}) {
    const SamplerChoice sampler{"euler", "tolerance = " + tolerance};
    error.push_back(diagonal_error(g, sampler, 5));
    evaluations.push_back(run(g, sampler, x_1, nodes_to_zero(5)).nfe);
  }
  CHECK(error[1] < 0.2 * error[0]);
  CHECK(error[2] < 0.2 * error[1]);
  CHECK(error[2] < 1e-3);
  CHECK(evaluations == std::vector<int64_t>{29, 80, 225});
}

TEST_CASE("on masks that jump the error does not fall with steps, but for corrections") {
  struct Row {
    SamplerChoice sampler;
    double few, many;  // with 20 and 640 steps, mean over four masks
  };
  const std::vector<Row> half_masked = {
      {by_default("naive"), 0.4439, 0.4759},          {by_default("momentum"), 0.4386, 0.4351},
      {by_default("ancestral"), 0.4495, 0.4354},      {by_default("ddim"), 0.4769, 0.4708},
      {by_default("heun"), 0.4411, 0.4329},           {by_default("multistep"), 0.4721, 0.4706},
      {{"langevin", "step = 0.5", 2}, 0.3663, 0.1240}};
  const auto mean_error = [](const SamplerChoice& sampler, int64_t steps) {
    double sum = 0;
    for (uint64_t key = 0; key < 4; ++key) {
      GaussianSetting g = correlated(corruption("pixel_mask", "fraction_max = 0.5", small_sample));
      g.key = key;
      sum += dense_error(g, sampler, steps);
    }
    return sum / 4;
  };
  for (const Row& row : half_masked) {
    INFO(row.sampler.id);
    CHECK(std::abs(mean_error(row.sampler, 20) - row.few) <= 0.5e-4);
    CHECK(std::abs(mean_error(row.sampler, 640) - row.many) <= 0.5e-4);
  }
}

TEST_CASE("on masks that jump every sampler stays finite, with noise and without") {
  set_finite_check(1);
  const std::shared_ptr<const Corruption> mask = corruption("pixel_mask", "", small_sample);
  const std::vector<double> level = levels("linear", "", TestData(1.0)), none(level.size(), 0.0);
  for (const Path& path : {make_path(1.0, "flow"), make_path(1.0, "linear", "", "geometric", ""), Path(level, none)}) {
    const GaussianSetting g(mask, path, small_sample, "basis = \"dense\"");
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      const at::Tensor x_1 = g.process.noisy(g.at(1, 2), noise({2, 1, 3, 4}, 1, dtype), noise({2, 1, 3, 4}, 2, dtype));
      for (const std::string id : {"naive", "momentum", "ancestral", "ddim", "heun", "multistep", "ancestral_multistep",
                                   "euler", "churn", "langevin"}) {
        INFO(id);
        CHECK(run(g, {id}, x_1, nodes_to_zero(1)).x.isfinite().all().item<bool>());
        CHECK(run(g, {id}, x_1, nodes_to_zero(23)).x.isfinite().all().item<bool>());
      }
    }
  }
}
