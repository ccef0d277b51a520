#include "plugins/schedules/wasserstein/graph.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace sdpipe::wasserstein {

namespace {
constexpr size_t unreachable = std::numeric_limits<size_t>::max() / 4;
}

Graph::Graph(size_t size, Distance distance, bool is_metric)
    : size_(size), distance_(std::move(distance)), is_metric_(is_metric), known_(size * size, -1.0), arc_(size) {
  for (size_t i = 1; i < size_; ++i) arc_[i] = arc_[i - 1] + this->distance(i - 1, i);
}

double Graph::distance(size_t i, size_t j) {
  if (i == j) return 0;
  double& known = known_[i * size_ + j];
  if (known < 0) known = distance_(i, j);
  return known;
}

bool Graph::edge(size_t i, size_t j, double eps) {
  if (!is_metric_) return distance(i, j) <= eps;
  const size_t end = size_ - 1;
  if (arc_[j] - arc_[i] <= eps) return true;
  if (std::abs(distance(0, i) - distance(0, j)) > eps) return false;
  if (std::abs(distance(i, end) - distance(j, end)) > eps) return false;
  return distance(i, j) <= eps;
}

std::vector<size_t> Graph::edges_from_start(double eps) {
  std::vector<size_t> edges(size_, unreachable);
  edges[0] = 0;
  for (size_t j = 1; j < size_; ++j) {
    for (size_t i = 0; i < j; ++i) {
      if (edges[i] + 1 < edges[j] && edge(i, j, eps)) edges[j] = edges[i] + 1;
    }
  }
  return edges;
}

std::vector<size_t> Graph::edges_to_end(double eps) {
  std::vector<size_t> edges(size_, unreachable);
  edges[size_ - 1] = 0;
  for (size_t i = size_ - 1; i-- > 0;) {
    for (size_t j = size_; j-- > i + 1;) {
      if (edges[j] + 1 < edges[i] && edge(i, j, eps)) edges[i] = edges[j] + 1;
    }
  }
  return edges;
}

std::vector<size_t> Graph::path(double eps) {
  const std::vector<size_t> from = edges_from_start(eps);
  if (from.back() >= unreachable) return {};
  const std::vector<size_t> to = edges_to_end(eps);
  // Among nodes on some path with the fewest edges, the shortest way to each.
  std::vector<double> length(size_, std::numeric_limits<double>::infinity());
  std::vector<size_t> previous(size_, 0);
  length[0] = 0;
  for (size_t j = 1; j < size_; ++j) {
    if (from[j] + to[j] != from.back()) continue;
    for (size_t i = 0; i < j; ++i) {
      if (from[i] + 1 != from[j] || from[i] + to[i] != from.back() || !edge(i, j, eps)) continue;
      const double through_i = length[i] + distance(i, j);
      if (through_i < length[j]) length[j] = through_i, previous[j] = i;
    }
  }
  std::vector<size_t> nodes = {size_ - 1};
  while (nodes.back() != 0) nodes.push_back(previous[nodes.back()]);
  std::reverse(nodes.begin(), nodes.end());
  return nodes;
}

Graph::Tuned Graph::path_with(size_t nodes) {
  const double whole = distance(0, size_ - 1);
  double low = 0, high = whole;  // too many nodes at `low`, unless all distances are 0; not too many at `high`
  while (high - low > 1e-6 * whole) {
    const double eps = (low + high) / 2;
    (edges_from_start(eps).back() + 1 > nodes ? low : high) = eps;
  }
  Tuned fewer{path(high), high}, more{path(low), low};
  const bool more_is_nearer = !more.path.empty() && more.path.size() - nodes < nodes - fewer.path.size();
  return more_is_nearer ? more : fewer;
}

}  // namespace sdpipe::wasserstein
