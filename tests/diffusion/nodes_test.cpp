#include <cmath>

#include "core/diffusion/trajectory.hpp"
#include "tests/diffusion/setup.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const Path& rising() {
  static const Setup setup{Text{}};
  return setup.process.path();
}

// The largest difference of f(sigma) at the nodes from equal steps between t = 0 and t = 1.
template <class F>
double unevenness(const Path& path, const std::vector<double>& nodes, F f) {
  double worst = 0;
  const double a = f(path.sigma(0)), b = f(path.sigma(1));
  for (size_t k = 0; k < nodes.size(); ++k) {
    const double share = static_cast<double>(k + 1) / static_cast<double>(nodes.size());
    worst = std::max(worst, std::abs(f(path.sigma(nodes[k])) - (a + share * (b - a))));
  }
  return worst;
}

}  // namespace

TEST_CASE("uniform nodes are k / N, whatever sigma does") {
  CHECK(sampling_nodes(rising(), 4) == std::vector<double>({0.25, 0.5, 0.75, 1}));
  CHECK(sampling_nodes(Path({0, 1}, {0, 0}), 1) == std::vector<double>{1});
}

TEST_CASE("with t_min the nodes go in equal steps from there to 1") {
  CHECK(sampling_nodes(rising(), 4, "uniform", 0.25) == std::vector<double>({0.25, 0.5, 0.75, 1}));
  CHECK(sampling_nodes(rising(), 3, "uniform", 0.5) == std::vector<double>({0.5, 0.75, 1}));
  CHECK(sampling_nodes(rising(), 1, "uniform", 0.5) == std::vector<double>{1});
  for (const char* spacing : {"rho", "log_sigma"}) {
    const std::vector<double> nodes = sampling_nodes(rising(), 5, spacing, 0.2);
    CHECK(nodes.size() == 5);
    CHECK(nodes.front() == Approx(0.2).epsilon(1e-9));
    CHECK(nodes.back() == 1);
    const auto f = [&](double t) {
      const double sigma = rising().sigma(t);
      return std::string(spacing) == "rho" ? std::pow(sigma, 1.0 / 7) : std::log(sigma);
    };
    for (size_t k = 1; k + 1 < 5; ++k)
      CHECK(f(nodes[k + 1]) - f(nodes[k]) == Approx(f(nodes[k]) - f(nodes[k - 1])).epsilon(1e-6));
  }
}

TEST_CASE("log_sigma makes equal steps in log sigma") {
  const std::vector<double> nodes = sampling_nodes(rising(), 10, "log_sigma");
  REQUIRE(nodes.size() == 10);
  CHECK(nodes.back() == 1);
  CHECK(unevenness(rising(), nodes, [](double s) { return std::log(s); }) < 1e-12);
  // Here the path itself is geometric, up to the straight lines between its 1,025 points.
  for (size_t k = 0; k < nodes.size(); ++k) CHECK(nodes[k] == Approx(static_cast<double>(k + 1) / 10).margin(1e-6));
}

TEST_CASE("rho makes equal steps in sigma^(1/7)") {
  const std::vector<double> nodes = sampling_nodes(rising(), 10, "rho");
  REQUIRE(nodes.size() == 10);
  CHECK(nodes.back() == 1);
  CHECK(unevenness(rising(), nodes, [](double s) { return std::pow(s, 1.0 / 7); }) < 1e-12);
  const Path from_zero({0, 1, 2}, {0, 0.2, 0.5});
  CHECK(unevenness(from_zero, sampling_nodes(from_zero, 6, "rho"), [](double s) { return std::pow(s, 1.0 / 7); }) <
        1e-12);
}

TEST_CASE("nodes rise and end at 1 for every spacing") {
  for (const char* spacing : {"uniform", "rho", "log_sigma"}) {
    for (const int64_t steps : {1, 2, 7, 100}) {
      const std::vector<double> nodes = sampling_nodes(rising(), steps, spacing);
      CHECK(nodes.size() == static_cast<size_t>(steps));
      CHECK(nodes.front() > 0);
      CHECK(nodes.back() == 1);
      CHECK(std::adjacent_find(nodes.begin(), nodes.end(), std::greater_equal<>()) == nodes.end());
    }
  }
}

TEST_CASE("spacing by sigma is refused where sigma saturates or starts at 0") {
  Text text;
  text.noise = "[noise]\ntype = \"geometric\"\nsigma_min = 0.01\nsigma_max = 0.5\nsaturation = 0.25\n";
  const Setup setup(text);
  const Path& saturating = setup.process.path();
  CHECK(message_of<RunError>([&] { sampling_nodes(saturating, 4, "rho"); }) ==
        "sample.spacing = \"rho\" needs a sigma(t) that rises strictly; use spacing = \"uniform\"");
  const std::string logarithm =
      "sample.spacing = \"log_sigma\" needs a sigma(t) that rises strictly from above 0; use spacing = \"uniform\"";
  CHECK(message_of<RunError>([&] { sampling_nodes(saturating, 4, "log_sigma"); }) == logarithm);
  CHECK(message_of<RunError>([] { sampling_nodes(Path({0, 1}, {0, 0.5}), 4, "log_sigma"); }) == logarithm);
}
