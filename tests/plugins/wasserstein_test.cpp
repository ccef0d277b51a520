// Levels at equal Wasserstein-2 steps, by the plugin as users get it.
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "core/base/random.hpp"
#include "tests/plugins/support.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

// Six images of two pixels in two batches, turned by level * pi / 2: a linear operator that moves points past each
// other, so that the estimators differ.
at::Tensor turned(const at::Tensor& x, double level) {
  const double angle = level * M_PI / 2;
  const at::Tensor turn = tensor({2, 2}, {std::cos(angle), std::sin(angle), -std::sin(angle), std::cos(angle)});
  return at::matmul(x, turn.to(x.scalar_type()));
}
TestData turning() { return TestData(1.0, {noise({4, 1, 1, 2}, 11), noise({2, 1, 1, 2}, 12)}, turned); }
std::vector<std::array<double, 2>> six_points(double level) {
  const TestData data = turning();
  std::vector<double> values = numbers(data.corrupt(0, level));
  for (const double v : numbers(data.corrupt(1, level))) values.push_back(v);
  std::vector<std::array<double, 2>> points;
  for (size_t k = 0; k < 6; ++k) points.push_back({values[2 * k], values[2 * k + 1]});
  return points;
}

double coupled(double a, double b, const std::vector<size_t>& order = {0, 1, 2, 3, 4, 5}) {
  const auto p = six_points(a), q = six_points(b);
  double sum = 0;
  for (size_t k = 0; k < 6; ++k) {
    sum += std::pow(p[k][0] - q[order[k]][0], 2) + std::pow(p[k][1] - q[order[k]][1], 2);
  }
  return std::sqrt(sum / 6);
}
double exact(double a, double b) {
  std::vector<size_t> order = {0, 1, 2, 3, 4, 5};
  double least = HUGE_VAL;
  do least = std::min(least, coupled(a, b, order));
  while (std::next_permutation(order.begin(), order.end()));
  return least;
}
// Means and deviations of the two DCT coefficients, (x + y) / sqrt 2 and (x - y) / sqrt 2.
std::array<double, 4> moments(double level) {
  std::array<double, 4> m = {};
  for (const auto& p : six_points(level)) {
    m[0] += (p[0] + p[1]) / std::sqrt(2) / 6, m[1] += (p[0] - p[1]) / std::sqrt(2) / 6;
  }
  for (const auto& p : six_points(level)) {
    m[2] += std::pow((p[0] + p[1]) / std::sqrt(2) - m[0], 2) / 6;
    m[3] += std::pow((p[0] - p[1]) / std::sqrt(2) - m[1], 2) / 6;
  }
  return {m[0], m[1], std::sqrt(m[2]), std::sqrt(m[3])};
}
double gaussian(double a, double b) {
  const auto p = moments(a), q = moments(b);
  double sum = 0;
  for (size_t k = 0; k < 4; ++k) sum += std::pow(p[k] - q[k], 2);
  return std::sqrt(sum);
}

}  // namespace

namespace {

// Candidates 0, 0.3, 1: the one node between the ends lies at half the arc and so tells the ratio of the distances.
const std::string three = "candidates = 3\nnodes = 3\nlevel_min = 0.3\nrule = \"equal_arc\"\n";
double middle(double first, double second) {
  const double half = (first + second) / 2;
  return half < first ? 0.3 * half / first : 0.3 + 0.7 * (half - first) / second;
}

// The root of the mean of W2^2 along `count` directions of the plane, equally spaced.
double sliced(double a, double b) {
  constexpr int count = 2000;
  double sum = 0;
  for (int k = 0; k < count; ++k) {
    const double angle = M_PI * k / count;
    const auto projected = [&](double level) {
      std::vector<double> p;
      for (const auto& x : six_points(level)) p.push_back(x[0] * std::cos(angle) + x[1] * std::sin(angle));
      std::sort(p.begin(), p.end());
      return p;
    };
    const std::vector<double> p = projected(a), q = projected(b);
    for (size_t i = 0; i < 6; ++i) sum += std::pow(p[i] - q[i], 2) / 6;
  }
  return std::sqrt(sum / count);
}

}  // namespace

TEST_CASE("each estimator measures the distance that it promises") {
  struct Case {
    std::string toml;
    double (*distance)(double, double);
    double tolerance;
  };
  const auto plain_coupled = [](double a, double b) { return coupled(a, b); };
  for (const Case& c :
       {Case{"estimator = \"gaussian\"", gaussian, 1e-6}, Case{"estimator = \"coupled\"", plain_coupled, 1e-6},
        Case{"estimator = \"exact\"", exact, 1e-6},
        Case{"estimator = \"sinkhorn\"\nregularisation = 1e-4\niterations = 100000", exact, 1e-4},
        Case{"estimator = \"sliced\"\ndirections = 4096", sliced, 0.01}}) {
    INFO(c.toml);
    CHECK(levels("wasserstein", three + c.toml, turning(), 3)[1] ==
          Approx(middle(c.distance(0, 0.3), c.distance(0.3, 1))).epsilon(c.tolerance));
  }
  // Otherwise this would not tell them apart.
  CHECK(exact(0, 1) < 0.9 * coupled(0, 1));
  const double by_exact = middle(exact(0, 0.3), exact(0.3, 1)), by_sliced = middle(sliced(0, 0.3), sliced(0.3, 1));
  CHECK(std::abs(by_sliced / by_exact - 1) > 0.03);
}

TEST_CASE("directions of the sliced distance are the same in every run and their number is a parameter") {
  const std::string toml = three + "estimator = \"sliced\"\n";
  CHECK(levels("wasserstein", toml, turning()) == levels("wasserstein", toml + "directions = 128", turning()));
  CHECK(levels("wasserstein", toml, turning()) != levels("wasserstein", toml + "directions = 127", turning()));
}

TEST_CASE("sinkhorn that does not converge says where, and what to do") {
  CHECK(failure([] {
          levels("wasserstein", three + "estimator = \"sinkhorn\"\nregularisation = 1e-6\niterations = 1", turning());
        }) ==
        "plugin \"wasserstein\": select failed: sinkhorn has not converged between the levels 0 and 0.3: after 1 "
        "iterations a marginal is off by 6.75, not by less than 0.001; raise regularisation or iterations (parameter "
        "\"regularisation\")");
  const TestData same(1.0, {noise({1, 1, 2, 2}, 15)}, [](const at::Tensor& x, double) { return x; });
  CHECK(
      failure([&] { levels("wasserstein", three + "estimator = \"sinkhorn\"", same); }) ==
      "plugin \"wasserstein\": select failed: clean and fully corrupted images are all the same: there is no scale for "
      "regularisation (parameter \"estimator\")");
}

TEST_CASE("all estimators but gaussian look at the first images only, as many as asked for") {
  const TestData first(1.0, {noise({4, 1, 1, 2}, 11)}, turned);
  for (const std::string estimator : {"coupled", "exact", "sinkhorn", "sliced"}) {
    const std::string toml = three + "estimator = \"" + estimator + "\"\n";
    CHECK(levels("wasserstein", toml + "points = 4", turning()) == levels("wasserstein", toml, first));
    CHECK(levels("wasserstein", toml + "points = 5", turning()) != levels("wasserstein", toml, first));
  }
}

TEST_CASE("where the distance is proportional to the level, both rules give levels that are linear in t") {
  const TestData fading(2.0, {noise({8, 1, 3, 3}, 13)},
                        [](const at::Tensor& x, double level) { return x * (1 - level / 2); });
  for (const std::string estimator : {"gaussian", "coupled", "exact", "sliced"}) {
    const std::string toml = "estimator = \"" + estimator + "\"\ncandidates = 400\nlevel_min = 0.001\nnodes = 9\n";
    const std::vector<double> arc = levels("wasserstein", toml + "rule = \"equal_arc\"", fading);
    const std::vector<double> path = levels("wasserstein", toml, fading);
    double arc_error = 0, path_error = 0;
    for (size_t k = 0; k < arc.size(); ++k) {
      const double t = static_cast<double>(k) / 1024;
      arc_error = std::max(arc_error, std::abs(arc[k] - 2 * t));
      path_error = std::max(path_error, std::abs(path[k] - 2 * t));
    }
    INFO(estimator);
    CHECK(arc_error < 1e-5);
    CHECK(path_error < 0.02);  // candidates near the end are 2 % apart
  }
}

TEST_CASE("on blurred images both rules give nodes at nearly equal distances") {
  const SampleShape sample = {1, 12, 12};
  const std::shared_ptr<const Corruption> blur = corruption("heat_blur", "std_max = 6.0", sample);
  const TestData data(6.0, {noise({32, 1, 12, 12}, 14)}, [&](const at::Tensor& x, double level) {
    return blur->apply(points(std::vector<double>(static_cast<size_t>(x.size(0)), level)), x);
  });
  for (const std::string rule : {"shortest_path", "equal_arc"}) {
    const std::vector<double> node =
        levels("wasserstein", "candidates = 256\nnodes = 9\nestimator = \"coupled\"\nrule = \"" + rule + "\"", data, 9);
    CHECK(std::is_sorted(node.begin(), node.end()));
    CHECK(node.front() == 0);
    CHECK(node.back() == 6.0);
    std::vector<double> step;
    for (size_t k = 1; k < node.size(); ++k) {
      step.push_back((data.corrupt(0, node[k]) - data.corrupt(0, node[k - 1])).square().sum().sqrt().item<double>());
    }
    const auto [least, most] = std::minmax_element(step.begin(), step.end());
    INFO(rule << ": " << *least << " to " << *most);
    CHECK(*most < 1.25 * *least);
  }
}

TEST_CASE("wasserstein without data says so") {
  CHECK(failure([] { levels("wasserstein", "", TestData(1.0)); }) ==
        "plugin \"wasserstein\": select failed: needs data to measure distances on, and there is none");
}

TEST_CASE("a corruption that changes nothing gets levels that are linear in t") {
  const TestData data(1.0, {noise({4, 1, 2, 2}, 15)}, [](const at::Tensor& x, double) { return x; });
  CHECK(levels("wasserstein", "", data, 5) == std::vector<double>{0, 0.25, 0.5, 0.75, 1});
}

TEST_CASE("with little regularisation, sinkhorn's shortest path is that of exact") {
  const SampleShape sample = {1, 8, 8};
  const std::shared_ptr<const Corruption> blur = corruption("heat_blur", "std_max = 4.0", sample);
  const TestData data(4.0, {noise({12, 1, 8, 8}, 16)}, [&](const at::Tensor& x, double level) {
    return blur->apply(points(std::vector<double>(12, level)), x);
  });
  const std::string toml = "candidates = 24\nnodes = 6\nregularisation = 0.001\nestimator = ";
  CHECK(levels("wasserstein", toml + "\"sinkhorn\"", data) == levels("wasserstein", toml + "\"exact\"", data));
}

TEST_CASE("gaussian is exact on Gaussian data: the closed form of its moments, and of the law it was drawn from") {
  const int64_t n = 3000;
  at::Tensor coefficients = at::empty({n, 1, 6, 6}, at::kDouble);
  Stream stream;
  stream.seed = 17;
  fill_normal(stream, std::span<double>(coefficients.data_ptr<double>(), static_cast<size_t>(n) * 36));
  std::vector<double> p, rate;  // variances, and exponents of the blur, of every DCT coefficient
  for (double i = 0; i < 6; ++i) {
    for (double j = 0; j < 6; ++j) {
      p.push_back(std::pow(1 + i * i + j * j, -1.0));
      rate.push_back((i * i + j * j) * std::pow(M_PI / 6, 2) / 2);
    }
  }
  const auto blur = [&](double level) {
    std::vector<double> c;
    for (const double r : rate) c.push_back(std::exp(-level * level * r));
    return c;
  };
  coefficients = coefficients * tensor({1, 1, 6, 6}, p).sqrt();
  const TestData data(1.0, {inverse_dct(coefficients)}, [&](const at::Tensor& x, double level) {
    return inverse_dct(dct(x) * tensor({1, 1, 6, 6}, blur(level)));
  });
  // A blur scales means and deviations alike: W2^2 = sum (m^2 + s^2) (c - c')^2 between Gaussians.
  const auto middle_for = [&](const std::vector<double>& second_moment) {
    const auto distance = [&](double a, double b) {
      const std::vector<double> ca = blur(a), cb = blur(b);
      double sum = 0;
      for (size_t k = 0; k < 36; ++k) sum += second_moment[k] * std::pow(ca[k] - cb[k], 2);
      return std::sqrt(sum);
    };
    return middle(distance(0, 0.3), distance(0.3, 1));
  };
  const double chosen = levels("wasserstein", three + "estimator = \"gaussian\"", data, 3)[1];
  CHECK(chosen == Approx(middle_for(numbers(coefficients.square().mean(0)))).epsilon(1e-9));
  CHECK(chosen == Approx(middle_for(p)).epsilon(0.005));
}
