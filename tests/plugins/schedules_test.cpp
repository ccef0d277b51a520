#include <algorithm>
#include <cmath>

#include "core/diffusion/process.hpp"
#include "tests/plugins/support.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

struct Chosen {
  std::vector<double> level, sigma;
};

// Levels and noise of a schedule that chooses both, at t = 0, 1/2, 1.
Chosen both(const std::string& id, const std::string& toml, double level_max) {
  Chosen chosen;
  Schedule(plugin(id), settings(plugin(id), toml)).select(TestData(level_max), 3, &chosen.level, &chosen.sigma);
  return chosen;
}

void check_near(const std::vector<double>& values, const std::vector<double>& expected) {
  REQUIRE(values.size() == expected.size());
  for (size_t i = 0; i < values.size(); ++i) CHECK(values[i] == Approx(expected[i]).epsilon(1e-13).margin(1e-15));
}

}  // namespace

TEST_CASE("linear levels are a power of t") {
  const std::vector<double> plain = levels("linear", "", TestData(23.0), 5);
  CHECK(plain == std::vector<double>{0, 5.75, 11.5, 17.25, 23});
  const std::vector<double> square = levels("linear", "power = 2.0", TestData(4.0), 5);
  CHECK(square == std::vector<double>{0, 0.25, 1, 2.25, 4});
}

TEST_CASE("log levels are 0 and then grow by equal factors") {
  const std::vector<double> level = levels("log", "level_min = 0.04", TestData(4.0), 5);
  const double expected[] = {0, 0.04 * std::pow(100, 0.25), 0.4, 0.04 * std::pow(100, 0.75), 4};
  for (size_t i = 0; i < 5; ++i) CHECK(level[i] == Approx(expected[i]).epsilon(1e-14));
  CHECK(levels("log", "", TestData(4.0), 3)[1] == Approx(std::sqrt(0.004 * 4)).epsilon(1e-14));
}

TEST_CASE("log refuses a first level that is not below the last") {
  CHECK(failure([] { levels("log", "level_min = 5.0", TestData(4.0)); }) ==
        "plugin \"log\": select failed: level_min = 5.000000 is not below the corruption's largest level, 4.000000 "
        "(parameter \"level_min\")");
}

TEST_CASE("geometric noise grows by equal factors up to saturation and is then exactly constant") {
  const std::vector<double> sigma = sigmas("geometric", "", 9);  // 0.01 to 0.10, saturated at t = 0.25
  CHECK(sigma[0] == 0.01);
  CHECK(sigma[1] == Approx(std::sqrt(0.001)).epsilon(1e-14));
  for (size_t i = 2; i < 9; ++i) CHECK(sigma[i] == 0.10);
  const std::vector<double> whole = sigmas("geometric", "sigma_max = 5.0\nsaturation = 1.0", 3);
  CHECK(whole[1] == Approx(0.01 * std::sqrt(500)).epsilon(1e-14));
  CHECK(whole[2] == 5.0);
}

TEST_CASE("geometric refuses noise that falls") {
  CHECK(failure([] { sigmas("geometric", "sigma_max = 0.001"); }) ==
        "plugin \"geometric\": create failed: sigma_max is below sigma_min (parameter \"sigma_max\")");
}

TEST_CASE("cosine levels are L (1 - cos(pi t / 2)), to the last digits also at small t") {
  check_near(levels("cosine", "", TestData(4.0), 3), {0, 4 * (1 - std::sqrt(0.5)), 4});
  const double t = 1.0 / 1024;
  CHECK(levels("cosine", "", TestData(1.0))[1] ==
        Approx(t * t * M_PI * M_PI / 8 - std::pow(t * M_PI / 2, 4) / 24).epsilon(1e-12));
}

TEST_CASE("constant noise is the same at every t, zero included") {
  CHECK(sigmas("constant", "", 3) == std::vector<double>{0.01, 0.01, 0.01});
  CHECK(sigmas("constant", "sigma = 0.0", 3) == std::vector<double>{0, 0, 0});
}

TEST_CASE("edm has levels in proportion to t and noise at equal steps of sigma^(1/rho)") {
  const Chosen chosen = both("edm", "", 3.0);
  CHECK(chosen.level == std::vector<double>{0, 1.5, 3});
  const double middle = (std::pow(0.002, 1.0 / 7) + std::pow(80, 1.0 / 7)) / 2;
  check_near(chosen.sigma, {0.002, std::pow(middle, 7), 80});
  check_near(both("edm", "sigma_min = 0.0\nsigma_max = 9.0\nrho = 2.0", 1.0).sigma, {0, 2.25, 9});
}

TEST_CASE("edm refuses noise that falls") {
  CHECK(failure([] { both("edm", "sigma_max = 0.001", 1.0); }) ==
        "plugin \"edm\": create failed: sigma_max is below sigma_min (parameter \"sigma_max\")");
}

TEST_CASE("vp keeps a^2 + sigma^2 = 1, a = 1 - level / L = cos(pi t / 2)") {
  const Chosen chosen = both("vp", "", 2.0);
  check_near(chosen.level, {0, 2 * (1 - std::sqrt(0.5)), 2});
  check_near(chosen.sigma, {0, std::sqrt(0.5), 1});
}

TEST_CASE("vp on the linear beta has Song et al.'s share of the image, to its end at a(1) = 0.0066") {
  std::vector<double> level, sigma;
  Schedule(plugin("vp"), settings(plugin("vp"), "path = \"linear_beta\"")).select(TestData(2.0), 101, &level, &sigma);
  const auto log_square = [](double t) { return -0.1 * t - 9.95 * t * t; };
  for (const int i : {25, 50, 90}) {
    const double square = std::exp(log_square(i / 100.0));
    CHECK(level[i] == Approx(2 * (1 - std::sqrt(square))).epsilon(1e-13));
    CHECK(sigma[i] == Approx(std::sqrt(1 - square)).epsilon(1e-13));
  }
  // In numbers: a^2 = 0.523680, 0.079064, 0.000289.
  CHECK(1 - sigma[25] * sigma[25] == Approx(0.523680).epsilon(1e-5));
  CHECK(1 - sigma[50] * sigma[50] == Approx(0.079064).epsilon(1e-5));
  CHECK(1 - sigma[90] * sigma[90] == Approx(0.000289).epsilon(1e-2));
  CHECK(level[0] == 0);
  CHECK(sigma[0] == 0);
  CHECK(level[100] == Approx(2 * (1 - std::exp(-5.025))).epsilon(1e-13));
  CHECK(1 - level[100] / 2 == Approx(0.0066).epsilon(5e-3));
  CHECK(sigma[100] == Approx(std::sqrt(1 - std::exp(-10.05))).epsilon(1e-13));
  CHECK(sigma[100] < 1);
  const Chosen slow = both("vp", "path = \"linear_beta\"\nbeta_min = 2.0\nbeta_max = 2.0", 1.0);
  CHECK(slow.sigma[1] == Approx(std::sqrt(1 - std::exp(-1.0))).epsilon(1e-13));
}

// Ho et al. (arXiv 2006.11239): x_k = sqrt(abar_k) x_0 + sqrt(1 - abar_k) eps, abar_k = prod (1 - beta_j), 1000 betas
// in equal steps from 1e-4 to 0.02.
TEST_CASE("vp on the linear beta is where DDPM's discrete steps are") {
  std::vector<double> level, sigma;
  Schedule(plugin("vp"), settings(plugin("vp"), "path = \"linear_beta\"")).select(TestData(1.0), 1001, &level, &sigma);
  double abar = 1;
  for (int k = 0; k < 1000; ++k) {
    CHECK(1 - sigma[k] * sigma[k] == Approx(abar).margin(1e-3));
    CHECK((1 - level[k]) * (1 - level[k]) == Approx(abar).margin(1e-3));
    abar *= 1 - (1e-4 + (0.02 - 1e-4) * k / 999);
  }
}

TEST_CASE("every schedule but vp on the linear beta ends exactly at the corruption's largest level") {
  for (const double largest : {1.0, 0.3, 7.0, 23.0, 1e-3}) {
    for (const std::string id : {"linear", "log", "cosine"}) CHECK(levels(id, "", TestData(largest)).back() == largest);
    CHECK(levels("linear", "power = 0.3", TestData(largest)).back() == largest);
    for (const std::string id : {"edm", "flow", "vp"}) CHECK(both(id, "", largest).level.back() == largest);
    CHECK(both("vp", "path = \"linear_beta\"", largest).level.back() < largest * 0.994);
  }
}

namespace {

// Is a step of the table longer than twice both of its neighbours? The first may be where the path begins with a bend.
std::string jump(const std::vector<double>& values, bool bends_at_0 = false) {
  std::vector<double> step;
  for (size_t i = 1; i < values.size(); ++i) step.push_back(values[i] - values[i - 1]);
  for (size_t i = bends_at_0 ? 1 : 0; i < step.size(); ++i) {
    const double before = i > 0 ? step[i - 1] : 0, after = i + 1 < step.size() ? step[i + 1] : 0;
    if (step[i] > 2 * std::max(before, after) * (1 + 1e-9))
      return fmt::format("step {} is {}, between {} and {}", i, step[i], before, after);
  }
  return "";
}

}  // namespace

TEST_CASE("no built-in schedule jumps from one point of its table to the next") {
  CHECK(jump(levels("linear", "", TestData(4.0))) == "");
  CHECK(jump(levels("linear", "power = 3.0", TestData(4.0))) == "");
  CHECK(jump(levels("linear", "power = 0.5", TestData(4.0)), /*bends_at_0=*/true) == "");
  CHECK(jump(levels("log", "", TestData(4.0)), /*bends_at_0=*/true) == "");  // from 0 to level_min
  CHECK(jump(levels("cosine", "", TestData(4.0))) == "");
  for (const std::string toml : {"", "saturation = 1.0", "saturation = 0.3\nsigma_max = 5.0"})
    CHECK(jump(sigmas("geometric", toml)) == "");
  CHECK(jump(sigmas("constant", "")) == "");
  const TestData fading(1.0, {noise({4, 1, 2, 2}, 11)},
                        [](const at::Tensor& x, double level) { return x * (1 - level); });
  for (const std::string rule : {"equal_arc", "shortest_path"}) {
    const std::string toml = "candidates = 64\nnodes = 12\nrule = \"" + rule + "\"";
    CHECK(jump(levels("wasserstein", toml, fading)) == "");
  }
  for (const auto& [id, toml] : std::vector<std::pair<std::string, std::string>>{
           {"edm", ""},
           {"flow", ""},
           {"vp", ""},
           {"vp", "path = \"linear_beta\""},
           {"vp", "path = \"linear_beta\"\nbeta_min = 0.01\nbeta_max = 4.0"},
           {"vp", "path = \"linear_beta\"\nbeta_min = 2.0\nbeta_max = 2.0"},
           {"vp", "path = \"linear_beta\"\nbeta_max = 40.0"}}) {
    INFO(id << " " << toml);
    std::vector<double> level, sigma;
    Schedule(plugin(id), settings(plugin(id), toml)).select(TestData(2.0), path_points, &level, &sigma);
    CHECK(jump(level) == "");
    CHECK(jump(sigma, /*bends_at_0=*/true) == "");  // of linear_beta sqrt(beta_min t) there
  }
}

TEST_CASE("vp refuses betas that fall") {
  CHECK(failure([] { both("vp", "path = \"linear_beta\"\nbeta_max = 0.05", 1.0); }) ==
        "plugin \"vp\": create failed: beta_max is below beta_min (parameter \"beta_max\")");
}

TEST_CASE("flow has levels and noise in proportion to t") {
  const Chosen chosen = both("flow", "", 1.0);
  CHECK(chosen.level == std::vector<double>{0, 0.5, 1});
  CHECK(chosen.sigma == std::vector<double>{0, 0.5, 1});
}
