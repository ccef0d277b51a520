// The path that the wasserstein schedule takes through its candidates.
#include <algorithm>
#include <boost/graph/adjacency_list.hpp>
#include <boost/graph/dijkstra_shortest_paths.hpp>
#include <cmath>
#include <numeric>

#include "plugins/schedules/wasserstein/graph.hpp"
#include "tests/plugins/support.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;
using wasserstein::Graph;

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
    Graph graph(
        11, [&](size_t i, size_t j) { return d[i][j]; }, true);
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
    Graph graph(
        11, [&](size_t i, size_t j) { return d[i][j]; }, true);
    size_t nearest = possible.front();
    for (const size_t count : possible) {
      if (std::abs(double(count) - double(wanted)) < std::abs(double(nearest) - double(wanted))) nearest = count;
    }
    const auto gap = [&](size_t count) { return std::abs(double(count) - double(wanted)); };
    CHECK(gap(graph.path_with(wanted).path.size()) == gap(nearest));
  }
}

TEST_CASE("distances are measured once each, and only where the triangle inequality leaves a doubt") {
  const Matrix d = curve(200, 7);
  std::vector<int> asked(200 * 200);
  const auto measure = [&](size_t i, size_t j) {
    ++asked[i * 200 + j];
    return d[i][j];
  };
  Graph graph(200, measure, true);
  CHECK(graph.path_with(32).path.size() == 32);
  CHECK(*std::max_element(asked.begin(), asked.end()) == 1);
  CHECK(std::accumulate(asked.begin(), asked.end(), 0) < 200 * 199 / 2 / 4);
}

namespace {

// Any positive distances: no metric, whatever the triangle.
Matrix without_triangles(size_t n, uint64_t seed) {
  const std::vector<double> random = numbers(noise({static_cast<int64_t>(n * n)}, seed) + 1);
  Matrix d(n, std::vector<double>(n));
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = i + 1; j < n; ++j) d[i][j] = d[j][i] = random[i * n + j] * std::sqrt(static_cast<double>(j - i));
  }
  return d;
}

// Edges first, then length.
struct Cost {
  int edges = 0;
  double length = 0;
};
bool operator<(const Cost& a, const Cost& b) { return a.edges != b.edges ? a.edges < b.edges : a.length < b.length; }
Cost operator+(const Cost& a, const Cost& b) { return {a.edges + b.edges, a.length + b.length}; }

// The same path by Boost's Dijkstra over such costs.
std::vector<size_t> best_by_dijkstra(const Matrix& d, double eps) {
  using Network = boost::adjacency_list<boost::vecS, boost::vecS, boost::directedS, boost::no_property,
                                        boost::property<boost::edge_weight_t, Cost>>;
  Network network(d.size());
  for (size_t i = 0; i < d.size(); ++i) {
    for (size_t j = i + 1; j < d.size(); ++j) {
      if (d[i][j] <= eps) boost::add_edge(i, j, Cost{1, d[i][j]}, network);
    }
  }
  std::vector<size_t> previous(d.size());
  std::vector<Cost> cost(d.size());
  boost::dijkstra_shortest_paths(network, size_t{0},
                                 boost::predecessor_map(previous.data())
                                     .distance_map(cost.data())
                                     .distance_compare(std::less<Cost>())
                                     .distance_combine(std::plus<Cost>())
                                     .distance_inf(Cost{1 << 20, 0})
                                     .distance_zero(Cost{}));
  if (cost.back().edges == 1 << 20) return {};
  std::vector<size_t> path = {d.size() - 1};
  while (path.back() != 0) path.push_back(previous[path.back()]);
  std::reverse(path.begin(), path.end());
  return path;
}

}  // namespace

TEST_CASE("the path is the one that Boost.Graph finds, with distances that are a metric and with others") {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    const size_t n = 3 + seed % 40;
    for (const bool is_metric : {true, false}) {
      const Matrix d = is_metric ? curve(n, seed) : without_triangles(n, seed);
      Graph graph(
          n, [&](size_t i, size_t j) { return d[i][j]; }, is_metric);
      for (const double part : {0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0}) {
        const double eps = part * (is_metric ? d[0][n - 1] : 2 * std::sqrt(static_cast<double>(n)));
        INFO("seed " << seed << ", metric " << is_metric << ", eps " << eps);
        CHECK(graph.path(eps) == best_by_dijkstra(d, eps));
      }
    }
  }
}

TEST_CASE("the tuned eps is the one at which its path is the best, and no step is longer") {
  for (const bool is_metric : {true, false}) {
    const Matrix d = is_metric ? curve(60, 5) : without_triangles(60, 5);
    Graph graph(
        60, [&](size_t i, size_t j) { return d[i][j]; }, is_metric);
    const Graph::Tuned tuned = graph.path_with(is_metric ? 20 : 5);
    CHECK(tuned.path == best_by_dijkstra(d, tuned.eps));
    for (size_t k = 1; k < tuned.path.size(); ++k) CHECK(d[tuned.path[k - 1]][tuned.path[k]] <= tuned.eps);
  }
}
