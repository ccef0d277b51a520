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
//   estimator = "gaussian"   # or "coupled", "exact"
//   rule = "shortest_path"   # or "equal_arc"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/abi/plugin.hpp"
#include "plugins/schedules/wasserstein/distance.hpp"
#include "plugins/schedules/wasserstein/graph.hpp"

namespace {

using namespace sdpipe::wasserstein;

struct Wasserstein {
  enum class Rule { shortest_path, equal_arc };
  enum class By { gaussian, coupled, exact };
  int64_t candidates = 256;
  int64_t nodes = 32;
  double level_min = 0;
  Rule rule = Rule::shortest_path;
  By estimator = By::gaussian;
  int64_t points = 256;

  void select(sdp::Call& call, const sdp::Calibration& data, uint32_t n, double* level, double*) const {
    if (data.n_batches() == 0) call.fail("needs data to measure distances on, and there is none");
    const std::vector<double> levels = candidate_levels(call, data.level_max());
    const std::unique_ptr<Estimator> distances = make_estimator(call, data, levels);
    Graph graph(levels.size(), [&](size_t i, size_t j) {
      call.stop_if_cancelled();
      return distances->distance(i, j);
    });
    const std::vector<double> chosen =
        rule == Rule::equal_arc ? equal_arc(graph, levels) : shortest_path(call, graph, levels);
    interpolate(chosen, n, level);
  }

 private:
  // 0, then equal steps in log level from level_min to the largest.
  std::vector<double> candidate_levels(const sdp::Call& call, double largest) const {
    const double smallest = level_min > 0 ? level_min : largest / 1000;
    if (smallest >= largest) {
      call.fail("level_min = " + std::to_string(smallest) + " is not below the corruption's largest level, " +
                    std::to_string(largest),
                "level_min");
    }
    std::vector<double> levels = {0};
    for (int64_t i = 0; i < candidates - 2; ++i) {
      levels.push_back(smallest *
                       std::pow(largest / smallest, static_cast<double>(i) / static_cast<double>(candidates - 2)));
    }
    levels.push_back(largest);
    return levels;
  }

  std::unique_ptr<Estimator> make_estimator(const sdp::Call& call, const sdp::Calibration& data,
                                            const std::vector<double>& levels) const {
    if (estimator == By::exact) return exact_estimator(call, data, levels, points);
    if (estimator == By::coupled) return coupled_estimator(call, data, levels, points);
    return gaussian_estimator(call, data, levels);
  }

  std::vector<double> shortest_path(const sdp::Call& call, Graph& graph, const std::vector<double>& levels) const {
    const std::vector<size_t> path = graph.path_with(static_cast<size_t>(nodes));
    const std::string reached = "the shortest path has " + std::to_string(path.size()) + " nodes";
    if (path.size() == static_cast<size_t>(nodes)) {
      call.log(1, reached);
    } else {
      call.log(2, reached + ": no eps gives " + std::to_string(nodes) +
                      " with these candidates; more of them, or rule = \"equal_arc\", would");
    }
    std::vector<double> chosen;
    for (size_t node : path) chosen.push_back(levels[node]);
    return chosen;
  }

  // Levels at equal steps of the arc length, linear between candidates.
  std::vector<double> equal_arc(const Graph& graph, const std::vector<double>& levels) const {
    const size_t last = levels.size() - 1;
    std::vector<double> chosen = {0};
    for (int64_t m = 1; m < nodes - 1; ++m) {
      const double wanted = graph.arc(last) * static_cast<double>(m) / static_cast<double>(nodes - 1);
      size_t i = 0;
      while (i + 1 < last && graph.arc(i + 1) < wanted) ++i;
      const double step = graph.arc(i + 1) - graph.arc(i);
      const double part = step > 0 ? (wanted - graph.arc(i)) / step : 1;
      chosen.push_back(levels[i] + std::clamp(part, 0.0, 1.0) * (levels[i + 1] - levels[i]));
    }
    chosen.push_back(levels[last]);
    return chosen;
  }

  static void interpolate(const std::vector<double>& chosen, uint32_t n, double* level) {
    const double steps = static_cast<double>(chosen.size() - 1);
    for (uint32_t k = 0; k < n; ++k) {
      const double place = steps * k / (n - 1);
      const size_t i = std::min(static_cast<size_t>(place), chosen.size() - 2);
      level[k] = chosen[i] + (place - static_cast<double>(i)) * (chosen[i + 1] - chosen[i]);
    }
    level[n - 1] = chosen.back();
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::schedule<Wasserstein>("wasserstein", "1.0.0", "Levels at equal Wasserstein-2 steps through the data")
               .integer("candidates", &Wasserstein::candidates, sdp::between(2, 4096), "",
                        "Levels to choose from: 0, and equal steps in the logarithm from level_min on")
               .integer("nodes", &Wasserstein::nodes, sdp::between(2, 4096), "", "Levels to choose")
               .real("level_min", &Wasserstein::level_min, sdp::at_least(0), "",
                     "First candidate above 0, in the corruption's unit; 0 stands for its largest / 1000")
               .choice("rule", &Wasserstein::rule, {"shortest_path", "equal_arc"}, "How levels are chosen")
               .choice("estimator", &Wasserstein::estimator, {"gaussian", "coupled", "exact"},
                       "How distances are measured: between fitted Gaussians, image by image (an upper bound), or "
                       "exactly between sets of images")
               .integer("points", &Wasserstein::points, sdp::between(1, 2048), "images",
                        "Images that the estimators coupled and exact compare")
               .example("candidates = 24\nnodes = 6\n")
               .caps(SDP_CAP_FILLS_LEVEL))
