// Line plots as SVG: readable in light and dark, without scripts, fonts or other files.
#pragma once

#include <string>
#include <vector>

namespace sdpipe {

// A curve. A value that has no place in the plot (NaN, infinite, not positive on a logarithmic axis) is a gap.
struct Series {
  std::string name;  // in the legend; empty: not there
  std::vector<double> x, y;
  bool line = true;
  bool markers = false;             // a dot at each point, with its values as a tooltip
  bool faint = false;               // pale and thin, for raw values behind their mean
  std::vector<double> spread = {};  // ± of each y: bars at markers, else a band; empty, or one for each y, 0 for none
};

struct Plot {
  std::string title, x_label, y_label;  // labels with their unit: "sigma(t)", "blur (px)"
  bool log_x = false, log_y = false;
  std::vector<Series> series;
  int width = 720, height = 320;  // px
};

// One <svg> element, valid inside HTML and as a file of its own; nothing but the plot decides its bytes. A plot without
// values says "no data". Throws std::invalid_argument where a series has more x than y values or
// fewer, or another number of spreads.
std::string render(const Plot& plot);
// The same with several plots below each other, as wide as the widest.
std::string render(const std::vector<Plot>& plots);

struct Point {
  double x, y;
};

// At most four points a pixel column, in their order: of consecutive points that share a column the first, the lowest,
// the highest and the last, so that no extreme of a long curve is lost. x and y are in pixels; NaN in either is a gap,
// and neighbouring gaps become one.
std::vector<Point> decimate(const std::vector<Point>& points);

}  // namespace sdpipe
