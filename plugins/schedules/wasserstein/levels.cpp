#include "plugins/schedules/wasserstein/levels.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>

namespace sdpipe::wasserstein {

std::vector<double> log_spaced(size_t count, double smallest, double largest) {
  std::vector<double> levels = {0};
  for (size_t i = 0; i + 2 < count; ++i)
    levels.push_back(smallest * std::pow(largest / smallest, static_cast<double>(i) / static_cast<double>(count - 2)));
  levels.push_back(largest);
  return levels;
}

std::vector<double> at_equal_arcs(const Graph& graph, const std::vector<double>& levels, size_t count) {
  const size_t last = levels.size() - 1;
  std::vector<double> chosen = {0};
  for (size_t m = 1; m + 1 < count; ++m) {
    const double wanted = graph.arc(last) * static_cast<double>(m) / static_cast<double>(count - 1);
    size_t i = 0;
    while (i + 1 < last && graph.arc(i + 1) < wanted) ++i;
    const double step = graph.arc(i + 1) - graph.arc(i);
    const double part = step > 0 ? (wanted - graph.arc(i)) / step : 1;
    chosen.push_back(levels[i] + std::clamp(part, 0.0, 1.0) * (levels[i + 1] - levels[i]));
  }
  chosen.push_back(levels[last]);
  return chosen;
}

void interpolate(const std::vector<double>& chosen, uint32_t n, double* level) {
  const double steps = static_cast<double>(chosen.size() - 1);
  for (uint32_t k = 0; k < n; ++k) {
    const double place = steps * k / (n - 1);
    const size_t i = std::min(static_cast<size_t>(place), chosen.size() - 2);
    level[k] = chosen[i] + (place - static_cast<double>(i)) * (chosen[i + 1] - chosen[i]);
  }
  level[n - 1] = chosen.back();
}

std::string text(double value) {
  std::ostringstream out;
  out.precision(3);
  out << value;
  return out.str();
}

}  // namespace sdpipe::wasserstein
