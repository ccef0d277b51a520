#include <ATen/ops/matmul.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "plugins/schedules/wasserstein/assignment.hpp"
#include "plugins/schedules/wasserstein/graph.hpp"
#include "tests/plugins/support.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;
using wasserstein::Graph;

namespace {

std::string failure(const std::function<void()>& f) {
  try {
    f();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "no failure";
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

/* ------------------------------------------------------------------ wasserstein: the graph */

namespace {

using Matrix = std::vector<std::vector<double>>;

// Distances along a curve in the plane that bends and slows down, so that chords are shorter than arcs.
Matrix curve(size_t n, uint64_t seed) {
  const std::vector<double> random = numbers(noise({static_cast<int64_t>(n), 2}, seed));
  std::vector<double> x(n), y(n);
  for (size_t i = 1; i < n; ++i) x[i] = x[i - 1] + 1 + random[2 * i], y[i] = y[i - 1] + 0.7 * random[2 * i + 1];
  Matrix d(n, std::vector<double>(n));
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) d[i][j] = std::hypot(x[i] - x[j], y[i] - y[j]);
  }
  return d;
}

double length(const Matrix& d, const std::vector<size_t>& path) {
  double sum = 0;
  for (size_t k = 1; k < path.size(); ++k) sum += d[path[k - 1]][path[k]];
  return sum;
}

// Every increasing path from the first to the last node, and the best of them.
std::vector<size_t> best_by_trying_all(const Matrix& d, double eps) {
  const size_t n = d.size();
  std::vector<size_t> best;
  for (uint32_t inner = 0; inner < 1u << (n - 2); ++inner) {
    std::vector<size_t> path = {0};
    for (size_t i = 1; i + 1 < n; ++i) {
      if (inner >> (i - 1) & 1) path.push_back(i);
    }
    path.push_back(n - 1);
    bool allowed = true;
    for (size_t k = 1; k < path.size(); ++k) allowed = allowed && d[path[k - 1]][path[k]] <= eps;
    if (!allowed) continue;
    if (best.empty() || path.size() < best.size() ||
        (path.size() == best.size() && length(d, path) < length(d, best))) {
      best = path;
    }
  }
  return best;
}

}  // namespace

TEST_CASE("the path has the fewest edges and, among those, the least length") {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    const Matrix d = curve(11, seed);
    Graph graph(11, [&](size_t i, size_t j) { return d[i][j]; });
    for (const double eps : {0.5, 1.0, 1.5, 2.0, 2.5, 3.5, 5.0, 8.0, 100.0}) {
      INFO("seed " << seed << ", eps " << eps);
      CHECK(graph.path(eps) == best_by_trying_all(d, eps));
    }
  }
}

TEST_CASE("tuning eps reaches the nearest number of nodes that any eps gives") {
  const Matrix d = curve(11, 3);
  std::vector<size_t> possible;
  for (const auto& row : d) {
    for (const double eps : row) {
      const std::vector<size_t> path = best_by_trying_all(d, eps);
      if (!path.empty()) possible.push_back(path.size());
    }
  }
  for (size_t wanted = 2; wanted <= 11; ++wanted) {
    Graph graph(11, [&](size_t i, size_t j) { return d[i][j]; });
    size_t nearest = possible.front();
    for (const size_t count : possible) {
      if (std::abs(double(count) - double(wanted)) < std::abs(double(nearest) - double(wanted))) nearest = count;
    }
    const auto gap = [&](size_t count) { return std::abs(double(count) - double(wanted)); };
    CHECK(gap(graph.path_with(wanted).size()) == gap(nearest));
  }
}

TEST_CASE("distances are measured once each, and only where the triangle inequality leaves a doubt") {
  const Matrix d = curve(200, 7);
  std::vector<int> asked(200 * 200);
  Graph graph(200, [&](size_t i, size_t j) {
    ++asked[i * 200 + j];
    return d[i][j];
  });
  CHECK(graph.path_with(32).size() == 32);
  CHECK(*std::max_element(asked.begin(), asked.end()) == 1);
  CHECK(std::accumulate(asked.begin(), asked.end(), 0) < 200 * 199 / 2 / 4);
}

TEST_CASE("the assignment is the cheapest of all permutations") {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const std::vector<double> cost = numbers(noise({6, 6}, seed) + 1);
    std::vector<size_t> order = {0, 1, 2, 3, 4, 5};
    double cheapest = HUGE_VAL;
    do {
      double total = 0;
      for (size_t i = 0; i < 6; ++i) total += cost[i * 6 + order[i]];
      cheapest = std::min(cheapest, total / 6);
    } while (std::next_permutation(order.begin(), order.end()));
    CHECK(wasserstein::optimal_assignment(6, cost) == Approx(cheapest).epsilon(1e-10));
  }
  CHECK(wasserstein::optimal_assignment(2, {0, 0, 0, 0}) == 0);
  CHECK(wasserstein::optimal_assignment(1, {3}) == Approx(3));
}

/* ------------------------------------------------------------------ wasserstein: the plugin */

namespace {

// Six images of two pixels in two batches, turned by level * pi / 2: a linear operator that moves points past each
// other, so that the three estimators differ.
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

TEST_CASE("each estimator measures the distance that it promises") {
  // Candidates 0, 0.3, 1: the one node between the ends lies at half the arc and so tells the ratio of the distances.
  struct Case {
    std::string name;
    double (*distance)(double, double);
  };
  for (const Case& c : {Case{"gaussian", gaussian}, Case{"coupled", [](double a, double b) { return coupled(a, b); }},
                        Case{"exact", exact}}) {
    const double first = c.distance(0, 0.3), second = c.distance(0.3, 1), half = (first + second) / 2;
    const double expected = half < first ? 0.3 * half / first : 0.3 + 0.7 * (half - first) / second;
    const std::string toml =
        "candidates = 3\nnodes = 3\nlevel_min = 0.3\nrule = \"equal_arc\"\nestimator = \"" + c.name + "\"";
    INFO(c.name);
    CHECK(levels("wasserstein", toml, turning(), 3)[1] == Approx(expected).epsilon(1e-6));
  }
  CHECK(exact(0, 1) < 0.9 * coupled(0, 1));  // otherwise this would not tell them apart
}

TEST_CASE("coupled and exact look at the first images only, as many as asked for") {
  const std::string common = "candidates = 3\nnodes = 3\nlevel_min = 0.3\nrule = \"equal_arc\"\n";
  const TestData first(1.0, {noise({4, 1, 1, 2}, 11)}, turned);
  for (const std::string estimator : {"coupled", "exact"}) {
    const std::string toml = common + "estimator = \"" + estimator + "\"\n";
    CHECK(levels("wasserstein", toml + "points = 4", turning()) == levels("wasserstein", toml, first));
    CHECK(levels("wasserstein", toml + "points = 5", turning()) != levels("wasserstein", toml, first));
  }
}

TEST_CASE("where the distance is proportional to the level, both rules give levels that are linear in t") {
  const TestData fading(2.0, {noise({8, 1, 3, 3}, 13)},
                        [](const at::Tensor& x, double level) { return x * (1 - level / 2); });
  for (const std::string estimator : {"gaussian", "coupled", "exact"}) {
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
