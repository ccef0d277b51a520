// What the report of an ablation draws as one curve, and what it tells apart.
#include "core/report/ablation_report.hpp"

#include "core/report/ablation_table.hpp"
#include "tests/config/examples.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;

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
  const std::string spread = report(ablation({1, 3, 5, 7, 2, 4, 8, 6})),
                    means = report(ablation({2, 2, 6, 6, 3, 3, 7, 7}));
  CHECK(plots(spread) == plots(means));
  CHECK(plots(spread) != plots(report(ablation({1, 1, 5, 5, 2, 2, 8, 8}))));
  for (const char* name : {">step (eta = 0.5), count 8</text>", ">step (eta = 0.5), count 16</text>"})
    CHECK(contains(plots(spread), name));
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

TEST_CASE("Each score is stated with its own numbers of samples") {
  Ablation all = ablation({1, 3, 5, 7, 2, 4, 8, 6});
  for (CellResult& result : all.results) result.scores.push_back({"frechet (features 1)", 1, 8});
  CHECK(table_notes(all) ==
        std::vector<std::string>{"recall, of 8 or 16 samples a cell", "frechet (features 1), of 8 samples a cell"});
}

TEST_CASE("Rows of real images say how many there were") {
  Ablation all = ablation({1, 3, 5, 7, 2, 4, 8, 6});
  all.real.push_back({1200, {{"recall", 0.5, 1200}}});
  const TextTable table = text_table(all);
  CHECK(table.rows.back()[0] == "1,200 real images");
  CHECK(to_json(all)["real_images"] == Json::array({{{"samples", 1200}, {"scores", {{"recall", 0.5}}}}}));
}
