// Lists of levels: the candidates, those at equal steps of the arc, the table made of the chosen ones, and their words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "plugins/schedules/wasserstein/graph.hpp"

namespace sdpipe::wasserstein {

// `count` >= 2 levels: 0, then equal steps in log level from `smallest` to `largest`.
std::vector<double> log_spaced(size_t count, double smallest, double largest);

// `count` >= 2 levels at equal steps of the graph's arc length, linear between its nodes, whose levels are `levels`.
std::vector<double> at_equal_arcs(const Graph& graph, const std::vector<double>& levels, size_t count);

// `chosen` levels, two at least, at equal steps of t, with straight lines between, at n >= 2 equally spaced times.
void interpolate(const std::vector<double>& chosen, uint32_t n, double* level);

// For messages: at most three digits that matter.
std::string text(double value);

}  // namespace sdpipe::wasserstein
