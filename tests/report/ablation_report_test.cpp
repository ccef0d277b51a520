// What the report of an ablation draws as one curve, and what it tells apart.
#include "core/report/ablation_report.hpp"

#include "core/report/ablation_table.hpp"
#include "tests/report/compared.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

// Cells of 2 and 3 steps with the seeds 1 and 2, of 8 samples and of 16.
Ablation ablation(const std::vector<double>& values) {
  const std::string grid = "\n[[ablate]]\nsample.steps = [2, 3]\nsample.seed = [1, 2]\ncount = ";
  const Experiment e = parse_experiment(kExample + grid + "8\n" + grid + "16\n", "a.toml", {}, examples());
  Ablation all{cells_of(e), {}, {}};
  for (size_t i = 0; i < all.cells.size(); ++i) {
    const auto& sample = all.cells[i].pipeline.sample;
    all.results.push_back({"id", sample.integer("steps"), 1, {{"recall", values.at(i), sample.integer("count")}}, ""});
  }
  return all;
}

std::string report(const Ablation& all) {
  return render_ablation_report({"a", "data", all, std::vector<std::vector<ByteImage>>(all.cells.size()), ""});
}

// The plots alone.
std::string plots(const std::string& report) {
  const size_t first = report.find("<svg"), last = report.rfind("</svg>");
  return report.substr(first, last - first);
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("A curve is the mean over the seeds, and cells of other numbers of samples are another curve") {
  const std::string points = plots(report(ablation({1, 3, 5, 7, 2, 4, 8, 6})));
  for (const char* point : {"<title>2, 2 ± 1.4</title>", "<title>3, 6 ± 1.4</title>", "<title>2, 3 ± 1.4</title>",
                            "<title>3, 7 ± 1.4</title>"})
    CHECK(contains(points, point));
  for (const char* name : {">step (eta = 0.5), count 8</text>", ">step (eta = 0.5), count 16</text>"})
    CHECK(contains(points, name));
}

TEST_CASE("A point has a bar where there are several seeds, and none for one") {
  const std::string one = report(compared("[[ablate]]\nsample.steps = [2, 3]\ncount = 8\n", "recall", {1, 2}));
  CHECK_FALSE(contains(plots(one), "class=\"bar\""));
  CHECK_FALSE(contains(one, "one standard deviation"));
  const std::string several = report(ablation({1, 3, 5, 7, 2, 4, 8, 6}));
  CHECK(contains(plots(several), "class=\"bar\""));
  CHECK(contains(several, "Its bar is one standard deviation on either side"));
}

TEST_CASE("The bar of a point with several trainings is their spread") {
  const std::string tables = "[[variant]]\nname = \"a\"\nseeds = [0, 1]\n[[ablate]]\ncount = 8\nsample.seed = [0, 1]\n";
  CHECK(contains(plots(report(compared(tables, "recall", {1, 3, 10, 12}))), "<title>5, 6.5 ± 6.4</title>"));
}

TEST_CASE("The line of real images has a band where there are several parts") {
  Ablation all = ablation({1, 3, 5, 7, 2, 4, 8, 6});
  all.real.push_back({8, {{"recall", 0.5, 8}}});
  CHECK_FALSE(contains(plots(report(all)), "class=\"band\""));
  all.real[0] = {8, {{"recall", 0.5, 8}}, 3, {0.25}};
  CHECK(contains(plots(report(all)), "class=\"band\""));
}

TEST_CASE("What each variant has one value of keeps no curves from one plot, what varies within one does") {
  const std::string grid = "\n[[ablate]]\nsample.steps = [2, 3]\ncount = 8\n";
  const auto legend = [&](const std::string& variants) {
    const Experiment e = parse_experiment(kExample + variants + grid, "a.toml", {}, examples());
    Ablation all{cells_of(e), {}, {}};
    for (const Cell& cell : all.cells)
      all.results.push_back({"id", cell.pipeline.sample.integer("steps"), 1, {{"recall", 0.5, 8}}, ""});
    return plots(report(all));
  };
  const std::string two = "\n[[variant]]\nname = \"a\"\n[[variant]]\nname = \"b\"\nsample.prior = \"noise\"\n";
  CHECK(contains(legend(two), ">b</text>"));
  CHECK_FALSE(contains(legend(two), "prior noise"));
}
