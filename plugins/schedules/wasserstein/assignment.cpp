#include "plugins/schedules/wasserstein/assignment.hpp"

#define LEMON_ONLY_TEMPLATES  // headers alone, no library to link
#include <lemon/network_simplex.h>
#include <lemon/static_graph.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <utility>

namespace sdpipe::wasserstein {

double optimal_assignment(size_t n, const std::vector<double>& cost) {
  const double largest = *std::max_element(cost.begin(), cost.end());
  if (largest == 0) return 0;
  // Integers of 40 bits: exact arithmetic, which the simplex needs to end, and a resolution far below float32's.
  const double scale = std::ldexp(1.0, 40) / largest;

  const int count = static_cast<int>(n);
  std::vector<std::pair<int, int>> arcs;
  arcs.reserve(n * n);
  for (int i = 0; i < count; ++i) {
    for (int j = 0; j < count; ++j) arcs.emplace_back(i, count + j);
  }
  using Graph = lemon::StaticDigraph;
  Graph graph;
  graph.build(2 * count, arcs.begin(), arcs.end());
  Graph::ArcMap<int64_t> costs(graph);
  for (int k = 0; k < count * count; ++k) costs[graph.arc(k)] = std::llround(cost[static_cast<size_t>(k)] * scale);
  Graph::NodeMap<int64_t> supply(graph);
  for (int i = 0; i < 2 * count; ++i) supply[graph.node(i)] = i < count ? 1 : -1;

  using Simplex = lemon::NetworkSimplex<Graph, int64_t, int64_t>;
  Simplex simplex(graph);
  simplex.costMap(costs).supplyMap(supply);
  if (simplex.run() != Simplex::OPTIMAL) throw std::logic_error("the network simplex found no assignment");
  return static_cast<double>(simplex.totalCost<int64_t>()) / scale / static_cast<double>(n);
}

}  // namespace sdpipe::wasserstein
