#include "core/report/svg.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <stdexcept>

#include "core/report/axis.hpp"
#include "core/report/markup.hpp"
#include "core/report/numbers.hpp"

namespace sdpipe {
namespace {

constexpr size_t colors = 8;
constexpr double letter_width = 6.6, row_height = 18;  // px, of the 12 px font below: a digit, and most letters
constexpr double usual_left = 64;                      // px: plots below each other share their left edge

// Dark only on screens: paper is white. The blues to browns differ in lightness as well as in hue.
constexpr const char* style =
    "svg.plot{--c0:#0b6bcb;--c1:#c8374b;--c2:#1f8552;--c3:#b26a00;--c4:#7a4fbf;--c5:#0c7f8a;--c6:#94502e;--c7:#5b6572;"
    "--ink:#1d232b;--soft:#5b6572;--grid:#e3e7ec;max-width:100%;height:auto;color:var(--ink)}"
    "@media screen and (prefers-color-scheme:dark){svg.plot{--c0:#6cb2ff;--c1:#ff8d99;--c2:#6fd39b;--c3:#f2b45a;"
    "--c4:#b99cff;--c5:#5cd0da;--c6:#e0a184;--c7:#a9b4c2;--ink:#e4e8ee;--soft:#a3adba;--grid:#333b46}}"
    "svg.plot text{font:12px system-ui,sans-serif;fill:currentColor}svg.plot .title{font-weight:600;font-size:14px}"
    "svg.plot .tick{fill:var(--soft);font-variant-numeric:tabular-nums}"
    "svg.plot .grid{stroke:var(--grid)}svg.plot .frame{stroke:var(--soft);fill:none}"
    "svg.plot .line{fill:none;stroke-width:1.75;stroke-linejoin:round;stroke-linecap:round}"
    "svg.plot .faint{stroke-width:1;opacity:.3}"
    "svg.plot .bar{fill:none;stroke-width:1.25}svg.plot .band{opacity:.15}";

// Everything that is decided before the first element is written. Pixels; y grows downwards.
struct Layout {
  Axis x, y;
  std::vector<double> x_ticks, y_ticks;
  std::vector<std::string> x_labels, y_labels;
  std::vector<Point> legend;  // where each series' entry begins
  double left = 0, right = 0, top = 0, bottom = 0;
  bool empty = true;

  double at_x(double value) const { return left + x.position(value) * (right - left); }
  double at_y(double value) const { return bottom - y.position(value) * (bottom - top); }
};

std::string px(double value) {
  std::string text = fmt::format("{:.2f}", value);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text == "-0" ? "0" : text;
}

double text_width(const std::string& text) {
  const auto wide =
      std::count_if(text.begin(), text.end(), [](char c) { return c == 'm' || c == 'w' || c == 'M' || c == 'W'; });
  return letter_width * (static_cast<double>(text_columns(text)) + 0.5 * static_cast<double>(wide));
}

void check_lengths(const Series& series) {
  if (!series.spread.empty() && series.spread.size() != series.y.size()) {
    throw std::invalid_argument(fmt::format("plot series \"{}\" has {} y values and {} spreads", series.name,
                                            series.y.size(), series.spread.size()));
  }
  if (series.x.size() == series.y.size()) return;
  throw std::invalid_argument(
      fmt::format("plot series \"{}\" has {} x values and {} y values", series.name, series.x.size(), series.y.size()));
}

// Where the bar of a point ends, below and above; nothing where it has none.
std::vector<double> spread_ends(const Series& series, size_t i) {
  if (series.spread.empty() || !(series.spread[i] > 0)) return {};
  return {series.y[i] - series.spread[i], series.y[i] + series.spread[i]};
}

// Only points of which both coordinates can be shown stretch the axes.
void set_ranges(const Plot& plot, Layout& layout) {
  layout.x.log = plot.log_x;
  layout.y.log = plot.log_y;
  std::vector<double> xs, ys;
  for (const Series& series : plot.series) {
    for (size_t i = 0; i < series.x.size(); ++i) {
      if (!layout.x.can_show(series.x[i]) || !layout.y.can_show(series.y[i])) continue;
      xs.push_back(series.x[i]);
      ys.push_back(series.y[i]);
      for (const double end : spread_ends(series, i)) {
        if (layout.y.can_show(end)) ys.push_back(end);
      }
    }
  }
  layout.empty = xs.empty();
  layout.x = axis_over(xs, plot.log_x, 0);
  layout.y = axis_over(ys, plot.log_y, 0.05);
}

std::vector<double> ticks(const Axis& axis, double length, double spacing) {
  const int at_most = std::max(2, static_cast<int>(length / spacing));
  return axis.log ? log_ticks(axis.low, axis.high, at_most) : linear_ticks(axis.low, axis.high, at_most);
}

// Entries in rows above the plot; returns the height that they take.
double place_legend(const Plot& plot, Layout& layout, double top) {
  double x = layout.left, y = top;
  bool any = false;
  for (const Series& series : plot.series) {
    const double width = 24 + text_width(series.name);
    if (x > layout.left && x + width > layout.right) {
      x = layout.left;
      y += row_height;
    }
    layout.legend.push_back({x, y + row_height / 2});
    if (series.name.empty()) continue;
    x += width + 20;
    any = true;
  }
  return any ? y - top + row_height + 4 : 0;
}

Layout lay_out(const Plot& plot) {
  Layout layout;
  set_ranges(plot, layout);
  layout.bottom = plot.height - 6 - row_height - (plot.x_label.empty() ? 0 : row_height);
  if (!layout.empty) layout.y_ticks = ticks(layout.y, layout.bottom - 40, 36);
  layout.y_labels = tick_labels(layout.y_ticks, plot.log_y);
  double widest = 0;
  for (const std::string& label : layout.y_labels) widest = std::max(widest, text_width(label));
  layout.left = std::max(usual_left, 16 + widest + (plot.y_label.empty() ? 0 : row_height));
  layout.right = plot.width - 24;
  layout.top = plot.title.empty() ? 8 : 30;
  layout.top += place_legend(plot, layout, layout.top);
  if (!layout.empty) layout.x_ticks = ticks(layout.x, layout.right - layout.left, 72);
  layout.x_labels = tick_labels(layout.x_ticks, plot.log_x);
  return layout;
}

class Writer {
 public:
  template <class... Args>
  void write(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Args>(args)...);
  }
  void text(double x, double y, const char* anchor, const char* css, const std::string& content) {
    write("<text x=\"{}\" y=\"{}\" text-anchor=\"{}\" class=\"{}\">{}</text>\n", px(x), px(y), anchor, css,
          escape_markup(content));
  }
  void segment(const char* css, double x1, double y1, double x2, double y2) {
    write("<line class=\"{}\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>\n", css, px(x1), px(y1), px(x2), px(y2));
  }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

void write_axes(const Plot& plot, const Layout& layout, Writer& svg) {
  for (size_t i = 0; i < layout.x_ticks.size(); ++i) {
    const double x = layout.at_x(layout.x_ticks[i]);
    svg.segment("grid", x, layout.top, x, layout.bottom);
    svg.text(x, layout.bottom + row_height, "middle", "tick", layout.x_labels[i]);
  }
  for (size_t i = 0; i < layout.y_ticks.size(); ++i) {
    const double y = layout.at_y(layout.y_ticks[i]);
    svg.segment("grid", layout.left, y, layout.right, y);
    svg.text(layout.left - 8, y + 4, "end", "tick", layout.y_labels[i]);
  }
  svg.write("<path class=\"frame\" d=\"M{} {}V{}H{}\"/>\n", px(layout.left), px(layout.top), px(layout.bottom),
            px(layout.right));
  const double middle = (layout.left + layout.right) / 2, centre = (layout.top + layout.bottom) / 2;
  if (!plot.title.empty()) svg.text(layout.left, 18, "start", "title", plot.title);
  if (!plot.x_label.empty()) svg.text(middle, plot.height - 8, "middle", "label", plot.x_label);
  if (!plot.y_label.empty()) {
    svg.write("<text transform=\"translate(14 {})rotate(-90)\" text-anchor=\"middle\" class=\"label\">{}</text>\n",
              px(centre), escape_markup(plot.y_label));
  }
  if (layout.empty) svg.text(middle, centre, "middle", "tick", "no data");
}

std::string paint(const char* property, size_t index) {
  return fmt::format("{}=\"var(--c{})\"", property, index % colors);
}

// From the ninth curve on the colours come again, dashed.
std::string stroke(const Series& series, size_t index) {
  std::string out = fmt::format("class=\"line{}\" {}", series.faint ? " faint" : "", paint("stroke", index));
  if (index >= colors) out += fmt::format(" stroke-dasharray=\"{} 4\"", 6 * (index / colors));
  return out;
}

void write_dot(const Point& point, const std::string& fill, const std::string& tooltip, Writer& svg) {
  svg.write("<circle cx=\"{}\" cy=\"{}\" r=\"3\" {}>", px(point.x), px(point.y), fill);
  if (!tooltip.empty()) svg.write("<title>{}</title>", escape_markup(tooltip));
  svg.write("</circle>\n");
}

bool is_gap(const Point& point) { return std::isnan(point.x) || std::isnan(point.y); }

// A run of one point between gaps has no length, so it is drawn as a dot.
void write_curve(const std::vector<Point>& points, const Series& series, size_t index, Writer& svg) {
  std::string path;
  std::vector<Point> alone;
  for (size_t i = 0; i < points.size(); ++i) {
    if (is_gap(points[i])) continue;
    const bool begins = i == 0 || is_gap(points[i - 1]), ends = i + 1 == points.size() || is_gap(points[i + 1]);
    if (begins && ends)
      alone.push_back(points[i]);
    else
      path += fmt::format("{}{} {}", begins ? "M" : "L", px(points[i].x), px(points[i].y));
  }
  if (!path.empty()) svg.write("<path {} d=\"{}\"/>\n", stroke(series, index), path);
  for (const Point& point : alone) write_dot(point, paint("fill", index), "", svg);
}

// On a logarithmic axis a bar that reaches 0 ends at the frame.
double end_in_plot(double value, const Layout& layout) {
  return layout.y.can_show(value) ? std::min(layout.at_y(value), layout.bottom) : layout.bottom;
}

void write_bars(const Series& series, size_t index, const Layout& layout, Writer& svg) {
  for (size_t i = 0; i < series.x.size(); ++i) {
    const std::vector<double> ends = spread_ends(series, i);
    const double x = layout.at_x(series.x[i]);
    if (ends.empty() || is_gap({x, layout.at_y(series.y[i])})) continue;
    const std::string low = px(end_in_plot(ends[0], layout)), high = px(end_in_plot(ends[1], layout));
    svg.write("<path class=\"bar\" {} d=\"M{} {}V{}M{} {}h8M{} {}h8\"/>\n", paint("stroke", index), px(x), low, high,
              px(x - 4), low, px(x - 4), high);
  }
}

// Along a line without gaps: there and back.
void write_band(const Series& series, size_t index, const Layout& layout, Writer& svg) {
  std::string there, back;
  for (size_t i = 0; i < series.x.size(); ++i) {
    const double x = layout.at_x(series.x[i]);
    const std::vector<double> ends = spread_ends(series, i);
    if (ends.empty() || is_gap({x, layout.at_y(series.y[i])})) return;
    there += fmt::format("{}{} {}", there.empty() ? "M" : "L", px(x), px(end_in_plot(ends[1], layout)));
    back = fmt::format("L{} {}", px(x), px(end_in_plot(ends[0], layout))) + back;
  }
  if (!there.empty()) svg.write("<path class=\"band\" {} d=\"{}{}Z\"/>\n", paint("fill", index), there, back);
}

void write_spread(const Series& series, size_t index, const Layout& layout, Writer& svg) {
  if (series.spread.empty()) return;
  if (series.markers)
    write_bars(series, index, layout, svg);
  else if (series.line)
    write_band(series, index, layout, svg);
}

// "10, 4.31", "10, 4.31 ± 0.12"
std::string tooltip(const Series& series, size_t i) {
  const std::string text = fmt::format("{:.6g}, {:.6g}", series.x[i], series.y[i]);
  return spread_ends(series, i).empty() ? text : fmt::format("{} ± {:.2g}", text, series.spread[i]);
}

void write_series(const Series& series, size_t index, const Layout& layout, Writer& svg) {
  std::vector<Point> points(series.x.size());
  for (size_t i = 0; i < points.size(); ++i) points[i] = {layout.at_x(series.x[i]), layout.at_y(series.y[i])};
  write_spread(series, index, layout, svg);
  if (series.line) write_curve(decimate(points), series, index, svg);
  if (!series.markers) return;
  for (size_t i = 0; i < points.size(); ++i) {
    if (is_gap(points[i])) continue;
    write_dot(points[i], paint("fill", index), tooltip(series, i), svg);
  }
}

void write_legend(const Plot& plot, const Layout& layout, Writer& svg) {
  for (size_t i = 0; i < plot.series.size(); ++i) {
    const Series& series = plot.series[i];
    if (series.name.empty()) continue;
    const auto [x, y] = layout.legend[i];
    if (series.line) svg.write("<path {} d=\"M{} {}h16\"/>\n", stroke(series, i), px(x), px(y));
    if (series.markers) write_dot({x + 8, y}, paint("fill", i), "", svg);
    svg.text(x + 24, y + 4, "start", "label", series.name);
  }
}

void write_plot(const Plot& plot, Writer& svg) {
  const Layout layout = lay_out(plot);
  write_axes(plot, layout, svg);
  for (size_t i = 0; i < plot.series.size(); ++i) write_series(plot.series[i], i, layout, svg);
  write_legend(plot, layout, svg);
}

}  // namespace

std::vector<Point> decimate(const std::vector<Point>& points) {
  std::vector<Point> out;
  const auto below = [](const Point& a, const Point& b) { return a.y < b.y; };
  for (auto first = points.begin(); first != points.end();) {
    const auto joins = [&](const Point& p) {
      return is_gap(p) == is_gap(*first) && (is_gap(p) || std::floor(p.x) == std::floor(first->x));
    };
    const auto end = std::find_if_not(first, points.end(), joins);
    if (is_gap(*first)) {
      out.push_back({std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()});
    } else {
      std::vector<std::vector<Point>::const_iterator> kept = {first, std::min_element(first, end, below),
                                                              std::max_element(first, end, below), end - 1};
      std::sort(kept.begin(), kept.end());
      kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
      for (auto point : kept) out.push_back(*point);
    }
    first = end;
  }
  return out;
}

std::string render(const Plot& plot) { return render(std::vector<Plot>{plot}); }

std::string render(const std::vector<Plot>& plots) {
  int width = 0, height = 0;
  std::vector<std::string> names;
  for (const Plot& plot : plots) {
    for (const Series& series : plot.series) check_lengths(series);
    width = std::max(width, plot.width);
    height += plot.height;
    names.push_back(escape_markup(plot.title.empty() ? plot.y_label : plot.title));
  }
  Writer svg;
  svg.write(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" role=\"img\" width=\"{0}\" height=\"{1}\" "
      "viewBox=\"0 0 {0} {1}\" aria-label=\"{2}\">\n<style>{3}</style>\n",
      width, height, fmt::join(names, "; "), style);
  int top = 0;
  for (const Plot& plot : plots) {
    if (top > 0) svg.write("<g transform=\"translate(0 {})\">\n", top);
    write_plot(plot, svg);
    if (top > 0) svg.write("</g>\n");
    top += plot.height;
  }
  svg.write("</svg>\n");
  return svg.take();
}

}  // namespace sdpipe
