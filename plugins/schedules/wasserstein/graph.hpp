// The path of Soft Diffusion (arXiv 2209.05442, "Learning the corruption schedule"): candidates are the nodes of a
// graph, from 0 (clean) to size - 1 (fully corrupted); an edge leads from i to j > i where their distance is at most
// eps; the path with the fewest edges is wanted, the shortest of those if there are several.
//
// Distances are dear and asked for once each. Where they are a metric (up to rounding), only where the triangle
// inequality leaves a doubt; otherwise nearly every pair is asked for.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

namespace sdpipe::wasserstein {

class Graph {
 public:
  using Distance = std::function<double(size_t i, size_t j)>;  // i < j

  Graph(size_t size, Distance distance, bool is_metric);

  // Nodes of the path at this eps; empty where the end cannot be reached.
  std::vector<size_t> path(double eps);
  struct Tuned {
    std::vector<size_t> path;
    double eps;
  };
  // The path at the smallest eps that needs no more than `nodes` nodes: at larger ones the same number leaves room for
  // uneven steps. The number falls as eps grows, but may skip values: then, the path with the nearest number.
  Tuned path_with(size_t nodes);
  double distance(size_t i, size_t j);
  // Length from node 0 to node i along all candidates in order.
  double arc(size_t i) const { return arc_[i]; }

 private:
  bool edge(size_t i, size_t j, double eps);
  // Fewest edges from the start to every node, and from every node to the end.
  std::vector<size_t> edges_from_start(double eps);
  std::vector<size_t> edges_to_end(double eps);

  size_t size_;
  Distance distance_;
  bool is_metric_;
  std::vector<double> known_;  // size x size, negative: not asked for yet
  std::vector<double> arc_;
};

}  // namespace sdpipe::wasserstein
