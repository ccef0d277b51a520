// wasserstein: levels chosen so that equal steps in t are equal steps in Wasserstein-2 distance between the corrupted
// data distributions. Soft Diffusion (arXiv 2209.05442), the schedule by shortest paths, at `rule` = "shortest_path":
// the fewest nodes such that no step is longer than eps, with eps tuned to give `nodes` of them. "equal_arc" divides
// the length along all candidates equally; it is ours, nearly the same where the path works, and robust where a coarse
// choice of candidates lets the path degenerate. Between nodes the level is linear in t.
//
//   [schedule]
//   type = "wasserstein"
//   candidates = 256
//   nodes = 32
//   estimator = "gaussian"   # or "coupled", "exact", "sinkhorn", "sliced"
//   rule = "shortest_path"   # or "equal_arc"

#include <algorithm>
#include <string>
#include <vector>

#include "core/abi/plugin.hpp"
#include "plugins/schedules/wasserstein/distance.hpp"
#include "plugins/schedules/wasserstein/graph.hpp"
#include "plugins/schedules/wasserstein/levels.hpp"

namespace {

using namespace sdpipe::wasserstein;

struct Wasserstein {
  enum class Rule { shortest_path, equal_arc };
  enum class By { gaussian, coupled, exact, sinkhorn, sliced };
  int64_t candidates = 256;
  int64_t nodes = 32;
  double level_min = 0;
  Rule rule = Rule::shortest_path;
  By estimator = By::gaussian;
  int64_t points = 256;
  double regularisation = 0.01;
  int64_t iterations = 1000;
  int64_t directions = 128;

  void select(sdp::Call& call, const sdp::Calibration& data, uint32_t n, double* level, double*) const {
    if (data.n_batches() == 0) call.fail("needs data to measure distances on, and there is none");
    const double largest = data.level_max(), smallest = level_min > 0 ? level_min : largest / 1000;
    if (smallest >= largest) {
      call.fail("level_min = " + std::to_string(smallest) + " is not below the corruption's largest level, " +
                    std::to_string(largest),
                "level_min");
    }
    const std::vector<double> levels = log_spaced(static_cast<size_t>(candidates), smallest, largest);
    const std::unique_ptr<Estimator> distances = make_estimator(call, data, levels);
    const auto measure = [&](size_t i, size_t j) {
      call.stop_if_cancelled();
      return distances->distance(i, j);
    };
    Graph graph(levels.size(), measure, distances->is_metric());
    interpolate(rule == Rule::equal_arc ? equal_arc(call, graph, levels) : shortest_path(call, graph, levels), n,
                level);
  }

 private:
  std::unique_ptr<Estimator> make_estimator(const sdp::Call& call, const sdp::Calibration& data,
                                            const std::vector<double>& levels) const {
    switch (estimator) {
      case By::gaussian:
        return gaussian_estimator(call, data, levels);
      case By::coupled:
        return coupled_estimator(call, data, levels, points);
      case By::exact:
        return exact_estimator(call, data, levels, points);
      case By::sinkhorn:
        return sinkhorn_estimator(call, data, levels, points, regularisation, iterations);
      case By::sliced:
        return sliced_estimator(call, data, levels, points, directions);
    }
    call.fail("unknown estimator", "estimator");
  }

  std::vector<double> shortest_path(const sdp::Call& call, Graph& graph, const std::vector<double>& levels) const {
    const auto [path, eps] = graph.path_with(static_cast<size_t>(nodes));
    std::vector<double> chosen = {0}, steps;
    for (size_t k = 1; k < path.size(); ++k) {
      chosen.push_back(levels[path[k]]);
      steps.push_back(graph.distance(path[k - 1], path[k]));
    }
    const auto [least, most] = std::minmax_element(steps.begin(), steps.end());
    const std::string reached = "the shortest path has " + std::to_string(path.size()) + " nodes; eps = " + text(eps) +
                                ", steps from " + text(*least) + " to " + text(*most);
    if (path.size() == static_cast<size_t>(nodes)) {
      call.log(1, reached);
    } else {
      call.log(2, reached + ": no eps gives " + std::to_string(nodes) +
                      " with these candidates; more of them, or rule = \"equal_arc\", would");
    }
    return chosen;
  }

  std::vector<double> equal_arc(const sdp::Call& call, const Graph& graph, const std::vector<double>& levels) const {
    const double whole = graph.arc(levels.size() - 1);
    call.log(1, "the arc along the candidates is " + text(whole) + " long; " + std::to_string(nodes) +
                    " nodes divide it into steps of " + text(whole / static_cast<double>(nodes - 1)));
    return at_equal_arcs(graph, levels, static_cast<size_t>(nodes));
  }
};

}  // namespace

SDP_PLUGIN(
    "Apache-2.0",
    sdp::schedule<Wasserstein>("wasserstein", "1.0.0", "Levels at equal Wasserstein-2 steps through the data")
        .integer("candidates", &Wasserstein::candidates, sdp::between(2, 4096), "",
                 "Levels to choose from: 0, and equal steps in the logarithm from level_min on")
        .integer("nodes", &Wasserstein::nodes, sdp::between(2, 4096), "", "Levels to choose")
        .real("level_min", &Wasserstein::level_min, sdp::at_least(0), "",
              "First candidate above 0, in the corruption's unit; 0 stands for its largest / 1000")
        .choice("rule", &Wasserstein::rule, {"shortest_path", "equal_arc"}, "How levels are chosen")
        .choice("estimator", &Wasserstein::estimator, {"gaussian", "coupled", "exact", "sinkhorn", "sliced"},
                "How distances are measured: between fitted Gaussians, image by image (an upper bound), or between "
                "sets of images exactly, with entropic smoothing or along random directions")
        .integer("points", &Wasserstein::points, sdp::between(1, 2048), "images",
                 "Images that all estimators but gaussian compare")
        .real("regularisation", &Wasserstein::regularisation, sdp::above(0), "",
              "sinkhorn: smoothing, as a share of the mean squared distance between clean and fully corrupted images")
        .integer("iterations", &Wasserstein::iterations, sdp::between(1, 1000000), "",
                 "sinkhorn: how many may be needed for one distance")
        .integer("directions", &Wasserstein::directions, sdp::between(1, 4096), "",
                 "sliced: random directions, the same in every run")
        .example("candidates = 24\nnodes = 6\n")
        .caps(SDP_CAP_FILLS_LEVEL))
