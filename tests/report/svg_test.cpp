#include "core/report/svg.hpp"

#include <cmath>
#include <cstdio>
#include <limits>
#include <stdexcept>

#include "tests/catch.h"

using namespace sdpipe;

namespace {

const double infinity = std::numeric_limits<double>::infinity();
const double nan_value = std::numeric_limits<double>::quiet_NaN();

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

std::string of_one(Series series, bool log_y = false) {
  Plot plot;
  plot.log_y = log_y;
  plot.series = {std::move(series)};
  return render(plot);
}

// The d attribute of the first curve.
std::string curve(const std::string& svg) {
  const size_t begin = svg.find("d=\"M", svg.find("class=\"line"));
  return begin == std::string::npos ? "" : svg.substr(begin + 3, svg.find('"', begin + 3) - begin - 3);
}

}  // namespace

TEST_CASE("decimation keeps the first, lowest, highest and last point of a column, in their order") {
  std::vector<Point> points;
  for (int i = 0; i < 1000; ++i) points.push_back({i / 1000.0, i == 700 ? -50.0 : i == 300 ? 90.0 : i % 7 * 1.0});
  const auto kept = decimate(points);
  REQUIRE(kept.size() == 4);
  CHECK(kept[0].x == 0);
  CHECK(kept[1].y == 90);
  CHECK(kept[2].y == -50);
  CHECK(kept[3].x == 0.999);
}

TEST_CASE("decimation leaves a curve with a point a pixel as it is") {
  const std::vector<Point> points = {{0, 1}, {1, 5}, {2, 2}, {3.5, 2}};
  const auto kept = decimate(points);
  REQUIRE(kept.size() == 4);
  for (size_t i = 0; i < 4; ++i) CHECK(kept[i].y == points[i].y);
}

TEST_CASE("decimation keeps a gap as one point, and joins nothing across it") {
  const auto kept = decimate({{0.1, 1}, {0.2, nan_value}, {0.3, nan_value}, {0.4, 2}});
  REQUIRE(kept.size() == 3);
  CHECK(kept[0].y == 1);
  CHECK(std::isnan(kept[1].y));
  CHECK(kept[2].y == 2);
}

TEST_CASE("decimation of nothing is nothing") { CHECK(decimate({}).empty()); }

TEST_CASE("a curve runs between the corners of its range") {
  // 720 x 320, of which 64 px at the left, 24 at the right, 8 at the top, and below one row of labels, 24 px.
  CHECK(curve(of_one({"", {0, 1}, {0, 1}})) == "M64 296L696 21.71");
}

TEST_CASE("wide labels move the left edge, others leave it where it is") {
  CHECK(curve(of_one({"", {0, 1}, {0, 1000000}})).starts_with("M75.4 "));  // 16 + 9 * 6.6 for "1,000,000"
  CHECK(curve(of_one({"", {0, 1}, {0, 1000}})).starts_with("M64 "));
}

TEST_CASE("a hundred thousand points are drawn as at most four a pixel column, and the spike is among them") {
  Series series{"loss", {}, {}};
  for (int i = 0; i < 100000; ++i) {
    series.x.push_back(i);
    series.y.push_back(i == 54321 ? 1000.0 : 1.0 + i % 10);
  }
  const std::string svg = of_one(series, true);
  CHECK(count(curve(svg), "L") < 4 * 720);
  CHECK(count(curve(svg), "L") > 720);
  Plot bounds;
  bounds.log_y = true;
  bounds.series = {{"loss", {0, 54321, 99999}, {1, 1000, 1}}};
  const std::string three = curve(render(bounds));
  const std::string top = three.substr(three.find(' ', three.find('L')), 6);
  CHECK(contains(curve(svg), top.substr(0, top.find('L')) + "L"));
}

TEST_CASE("values without a place in the plot are gaps") {
  const std::string path = curve(of_one({"", {0, 1, 2, 3, 4, 5, 6}, {1, 2, nan_value, 3, 4, infinity, 5}}));
  CHECK(count(path, "M") == 2);
  CHECK(count(path, "L") == 2);
  const std::string svg = of_one({"", {0, 1, 2, 3, 4}, {1, 2, 0, 3, 4}}, true);
  CHECK(count(curve(svg), "M") == 2);
  CHECK_FALSE(contains(svg, "nan"));
  CHECK_FALSE(contains(svg, "inf"));
}

TEST_CASE("a single point is a dot") {
  const std::string svg = of_one({"", {2}, {3}});
  CHECK(curve(svg).empty());
  CHECK(count(svg, "<circle") == 1);
  CHECK_FALSE(contains(svg, "nan"));
}

TEST_CASE("a constant curve stands in the middle of the height") {
  const std::string svg = of_one({"", {0, 1}, {7, 7}});
  CHECK(contains(curve(svg), "152L"));  // (8 + 296) / 2
}

TEST_CASE("a plot without values says so") {
  CHECK(contains(render(Plot{}), ">no data</text>"));
  CHECK(contains(of_one({"loss", {0, 1}, {nan_value, infinity}}), ">no data</text>"));
  CHECK(contains(of_one({"loss", {0, 1}, {-1, 0}}, true), ">no data</text>"));
  CHECK_FALSE(contains(of_one({"loss", {0}, {1}}), "no data"));
}

TEST_CASE("huge values do not overflow the axes") {
  const std::string svg = of_one({"", {-1e300, 1e300}, {-1e300, 1e300}});
  CHECK_FALSE(contains(svg, "nan"));
  CHECK_FALSE(contains(svg, "inf"));
  CHECK(count(curve(svg), "L") == 1);
}

TEST_CASE("markers are dots with their values as tooltips") {
  Series nodes{"chosen nodes", {0, 0.5, 1}, {0, 2.25, 8}};
  nodes.line = false;
  nodes.markers = true;
  const std::string svg = of_one(nodes);
  CHECK(contains(svg, "<title>0.5, 2.25</title>"));
  CHECK(count(svg, "<circle") == 4);  // three points and the legend
  CHECK(curve(svg).empty());
}

TEST_CASE("the legend names the curves that have a name, and long legends take more rows") {
  Plot plot;
  for (int i = 0; i < 10; ++i) plot.series.push_back({"a curve with a long name", {0, 1}, {0, 1.0 + i}});
  plot.series.push_back({"", {0, 1}, {0, 1}});
  const std::string svg = render(plot);
  CHECK(count(svg, ">a curve with a long name</text>") == 10);
  CHECK(contains(svg, "stroke-dasharray=\"6 4\""));
  // Three of 189 + 20 px fit between 64 and 696.
  CHECK(count(svg, "text-anchor=\"start\" class=\"label\"") == 10);
  CHECK(contains(svg, "y=\"75\" text-anchor=\"start\""));
}

TEST_CASE("the legend leaves more room for a name of wide letters") {
  const auto second_name_at = [](const std::string& first_name) {
    Plot plot;
    plot.series = {{first_name, {0, 1}, {0, 1}}, {"second", {0, 1}, {0, 1}}};
    const std::string svg = render(plot);
    return std::stod(svg.substr(svg.rfind(" x=\"", svg.find(">second</text>")) + 4));
  };
  CHECK(second_name_at("momentum") == Approx(second_name_at("locality") + 1.5 * 6.6));
}

TEST_CASE("title, labels and names are escaped") {
  Plot plot;
  plot.title = "<script>1</script>";
  plot.x_label = "a & b";
  plot.y_label = "\"q\" <i>";
  plot.series = {{"<b>", {0, 1}, {0, 1}}};
  const std::string svg = render(plot);
  CHECK_FALSE(contains(svg, "<script"));
  CHECK_FALSE(contains(svg, "<b>"));
  CHECK_FALSE(contains(svg, "<i>"));
  CHECK(contains(svg, ">&lt;script&gt;1&lt;/script&gt;</text>"));
  CHECK(contains(svg, ">a &amp; b</text>"));
  CHECK(contains(svg, ">&quot;q&quot; &lt;i&gt;</text>"));
}

TEST_CASE("a series with more x than y values is refused") {
  CHECK_THROWS_WITH(of_one({"loss", {0, 1, 2}, {1, 2}}), "plot series \"loss\" has 3 x values and 2 y values");
}

TEST_CASE("several plots stand below each other in one picture, each as it is alone") {
  Plot first, second;
  first.title = "first";
  first.height = 200;
  first.series = {{"", {0, 1}, {0, 1}}};
  second.title = "second";
  second.width = 800;
  second.series = {{"", {0, 1}, {3, 2}}};
  const std::string both = render(std::vector<Plot>{first, second});
  CHECK(contains(both, "width=\"800\" height=\"520\" viewBox=\"0 0 800 520\" aria-label=\"first; second\""));
  const auto inside = [](const std::string& svg) {
    const size_t from = svg.find("</style>\n") + 9;
    return svg.substr(from, svg.rfind("</svg>") - from);
  };
  CHECK(inside(both) ==
        inside(render(first)) + "<g transform=\"translate(0 200)\">\n" + inside(render(second)) + "</g>\n");
}

TEST_CASE("a spread is a bar at each marker, and the axis has room for it") {
  Series series{"a", {1, 2, 3}, {5, 5, 5}};
  series.markers = true;
  const std::string without = of_one(series);
  series.spread = {1, 0, 2};
  const std::string svg = of_one(series);
  CHECK(count(svg, "class=\"bar\"") == 2);  // none where the spread is 0
  CHECK(count(without, "class=\"bar\"") == 0);
  CHECK(contains(svg, "<title>1, 5 ± 1</title>"));
  CHECK(contains(svg, "<title>2, 5</title>"));
  for (const char* tick : {">3</text>", ">7</text>"}) CHECK(contains(svg, tick));
  CHECK(count(svg, "class=\"band\"") == 0);
}

TEST_CASE("a bar reaches as far as its spread, below and above") {
  Series series{"a", {1, 2}, {4, 4}};
  series.markers = true;
  series.spread = {0, 2};
  const std::string svg = of_one(series);
  const size_t begin = svg.find("d=\"M", svg.find("class=\"bar\""));
  double x = 0, low = 0, high = 0;
  REQUIRE(std::sscanf(svg.c_str() + begin, "d=\"M%lf %lfV%lf", &x, &low, &high) == 3);
  // The ends are the lowest and the highest value, each 5 % from its edge; y grows downwards.
  const size_t mark = svg.find("<circle", svg.find("class=\"line"));
  double cx = 0, cy = 0;
  REQUIRE(std::sscanf(svg.c_str() + mark, "<circle cx=\"%lf\" cy=\"%lf\"", &cx, &cy) == 2);
  CHECK(low > cy);
  CHECK(high < cy);
  CHECK(low - cy == Approx(cy - high).margin(0.02));
}

TEST_CASE("on a logarithmic axis a bar that reaches 0 ends at the frame, and gaps have none") {
  Series series{"a", {1, 2, 3, 4}, {1, 10, -1, nan_value}};
  series.markers = true;
  series.spread = {2, 1, 1, 1};
  const std::string svg = of_one(series, true);
  CHECK(count(svg, "class=\"bar\"") == 2);
  CHECK(!contains(svg, "nan"));
}

TEST_CASE("along a line without markers a spread is a band, and the wrong number of spreads is refused") {
  Series series{"a", {1, 2}, {5, 5}};
  series.spread = {1, 1};
  CHECK(count(of_one(series), "class=\"band\"") == 1);
  series.spread = {1};
  CHECK_THROWS_WITH(of_one(series), "plot series \"a\" has 2 y values and 1 spreads");
}
