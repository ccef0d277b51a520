// Cells as rows over their seeds, and what tells rows apart.
#include "core/evaluation/rows.hpp"

#include <cmath>

#include "tests/message_of.hpp"
#include "tests/report/compared.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const std::string kFrechet = "frechet (features 1)";
const std::string kTwo = "[[ablate]]\nsampler = [{ type = \"step\" }, { type = \"churned\" }]\ncount = 1000\n";
const std::string kSeeds = kTwo + "sample.seed = [0, 1, 2]\n";

std::string variant(const std::string& name, const std::string& keys = "") {
  return "[[variant]]\nname = \"" + name + "\"\n" + keys;
}

// The difference of the second row to the first.
RowDifference second(const Ablation& ablation, const std::string& score = kFrechet) {
  const Comparison comparison(ablation);
  REQUIRE(comparison.rows.size() == 2);
  const auto found = comparison.difference(1, score);
  REQUIRE(found);
  return *found;
}

}  // namespace

TEST_CASE("Cells that differ in sample.seed alone are one row, in the order of their first") {
  const Ablation all = compared(kSeeds + "sample.steps = [2, 3]\n", kFrechet, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12});
  const auto cells = cells_by_row(all.cells);
  REQUIRE(cells.size() == 4);
  const std::vector<Row> rows = rows_of(all);
  for (size_t i = 0; i < 4; ++i) {
    CHECK(cells[i] == std::vector<size_t>{3 * i, 3 * i + 1, 3 * i + 2});
    const RowScore& score = rows[i].scores.at(0);
    CHECK(score.mean == Approx(3.0 * static_cast<double>(i) + 2));
    CHECK(*score.sample_deviation == Approx(1));
    CHECK(!score.training_deviation);
    CHECK(score.samples == 1000);
    CHECK(rows[i].sample_seeds == 3);
    CHECK(rows[i].run_seeds == 1);
  }
}

TEST_CASE("Seeds of one variant are one row, with the spread over samples within trainings and that over trainings") {
  // Trainings 4 and 5: means 2 and 12, deviations 1 and 3 within.
  const Ablation all =
      compared(variant("a", "seeds = [4, 5]\n") + "[[ablate]]\ncount = 1000\nsample.seed = [0, 1, 2]\n", kFrechet,
               {1, 2, 3, 9, 12, 15});
  const std::vector<Row> rows = rows_of(all);
  REQUIRE(rows.size() == 1);
  const RowScore& score = rows[0].scores.at(0);
  CHECK(score.mean == Approx(7));
  CHECK(*score.sample_deviation == Approx(std::sqrt((1 + 9) / 2.0)));
  CHECK(*score.training_deviation == Approx(10 / std::sqrt(2.0)));
  CHECK(count_trainings(score) == 2);
  CHECK(score.values.at(3).run_seed == 5);
  CHECK(score.values.at(3).sample_seed == 0);
  CHECK(rows[0].run_seeds == 2);
}

TEST_CASE("Variants that differ in run.seed by their own keys are rows of their own, unpaired") {
  const std::string tables =
      variant("a") + variant("b", "run.seed = 7\n") + "[[ablate]]\ncount = 1000\nsample.seed = [0, 1, 2]\n";
  const RowDifference d = second(compared(tables, kFrechet, {1, 2, 3, 101, 102, 103}));
  CHECK(!d.difference.is_paired);
  CHECK(d.difference.mean == Approx(100));
  CHECK(*d.difference.standard_error == Approx(std::sqrt(2.0 / 3)));
  CHECK(d.difference.degrees_of_freedom == Approx(4));
  CHECK(d.verdict == Verdict::worse);
}

TEST_CASE("Rows of the same seeds and prior are compared pair by pair") {
  // Of 10, 20, 30 the spread hides a steady gain of 1 +- 0.1: pairs show it.
  const RowDifference d = second(compared(kSeeds, kFrechet, {10, 20, 30, 9, 18.9, 29.1}));
  CHECK(d.difference.is_paired);
  CHECK(d.difference.mean == Approx(-1));
  CHECK(*d.difference.standard_error == Approx(0.1 / std::sqrt(3.0)).epsilon(1e-6));
  CHECK(d.difference.degrees_of_freedom == 2);
  CHECK(d.verdict == Verdict::better);
}

TEST_CASE("Rows of other priors share no starts: they are not paired") {
  const RowDifference d =
      second(compared("[[ablate]]\ncount = 1000\nsample.prior = [\"empirical\", \"noise\"]\n"
                      "sample.seed = [0, 1, 2]\n",
                      kFrechet, {10, 20, 30, 9, 18.9, 29.1}));
  CHECK(!d.difference.is_paired);
  CHECK(d.verdict == Verdict::not_told_apart);
}

TEST_CASE("Several trainings are compared training by training: their samples are no trials of their own") {
  const std::string tables = variant("a", "seeds = [0, 1, 2]\n") + variant("b", "seeds = [0, 1, 2]\n") +
                             "[[ablate]]\ncount = 1000\nsample.seed = [0, 1]\n";
  // By training: 1, 1, 4. By sample they would be six.
  const RowDifference d = second(compared(tables, kFrechet, {10, 12, 20, 22, 30, 32, 11, 13, 21.5, 22.5, 34, 36}));
  CHECK(d.difference.is_paired);
  CHECK(d.difference.mean == Approx(2));
  CHECK(*d.difference.standard_error == Approx(1));
  CHECK(d.difference.degrees_of_freedom == 2);
  CHECK(d.verdict == Verdict::not_told_apart);
}

TEST_CASE("Several trainings against one have no error: the one says nothing of its spread") {
  const std::string tables = variant("a", "seeds = [0, 1, 2]\n") + variant("b", "run.seed = 9\n") +
                             "[[ablate]]\ncount = 1000\nsample.seed = [0, 1]\n";
  const RowDifference d = second(compared(tables, kFrechet, {1, 1, 2, 2, 3, 3, 50, 52}));
  CHECK(d.difference.mean == Approx(49));
  CHECK(!d.difference.standard_error);
  CHECK(d.verdict == Verdict::unjudged);
}

TEST_CASE("With one seed there is a difference and no error") {
  const RowDifference d = second(compared(kTwo, kFrechet, {1, 100}));
  CHECK(d.difference.mean == 99);
  CHECK(!d.difference.standard_error);
  CHECK(d.verdict == Verdict::unjudged);
}

TEST_CASE("Of precision and recall more is better, of distances less, of nearest_neighbour neither") {
  const std::vector<double> rise = {0.1, 0.2, 0.3, 0.5, 0.61, 0.69};
  for (const char* name : {"precision (features 1)", "recall (features 1)"})
    CHECK(second(compared(kSeeds, name, rise), name).verdict == Verdict::better);
  for (const char* name : {"frechet (features 1)", "sliced_wasserstein (pixels)"})
    CHECK(second(compared(kSeeds, name, rise), name).verdict == Verdict::worse);
  const RowDifference d = second(compared(kSeeds, "nearest_neighbour (pixels)", rise), "nearest_neighbour (pixels)");
  CHECK(d.verdict == Verdict::unjudged);
  CHECK(d.difference.mean == Approx(0.4));
  CHECK(d.difference.standard_error);
}

TEST_CASE(
    "What cannot be compared is not: the baseline with itself, other numbers of samples, values without meaning") {
  Ablation all = compared(kSeeds, kFrechet, {1, 2, 3, 4, 5, 6});
  CHECK(!Comparison(all).difference(0, kFrechet));
  CHECK(!Comparison(all).difference(1, "recall (features 1)"));
  for (size_t i = 3; i < 6; ++i) all.results[i].scores[0].samples = 999;
  CHECK(!Comparison(all).difference(1, kFrechet));
  for (CellResult& result : all.results) result.scores[0].samples = 64;
  CHECK(!Comparison(all).difference(1, kFrechet));
  for (CellResult& result : all.results) result.scores[0].samples = 65;
  CHECK(Comparison(all).difference(1, kFrechet));
}

TEST_CASE("Cells that failed, and values that are not finite, are left out and counted") {
  Ablation all = compared(kSeeds, kFrechet, {1, 2, 3, 4, 5, 6});
  all.results[4] = {"4", 0, 0, {}, "diverged"};
  all.results[5].scores[0].value = std::nan("");
  const std::vector<Row> rows = rows_of(all);
  CHECK(rows[1].failed == 1);
  CHECK(rows[1].scores.at(0).values.size() == 1);
  CHECK(rows[1].scores.at(0).mean == 4);
  // Of the one pair that is left no error is known; without pairs neither.
  CHECK(second(all).verdict == Verdict::unjudged);
  all.results[3] = all.results[4];
  CHECK(!Comparison(all).difference(1, kFrechet));
}

TEST_CASE("A frechet is at the floor below real images' mean and two deviations, as far as they are known") {
  Ablation all = compared("[[ablate]]\ncount = 1000\n", kFrechet, {1});
  const auto mark = [&](double value) {
    all.results[0].scores[0].value = value;
    const Comparison comparison(all);
    return std::string(comparison.mark(comparison.rows[0].scores[0]));
  };
  CHECK(mark(0.1) == "");  // no floor is known
  all.real = {{1000, {{kFrechet, 2, 1000}}, 5, {0.25}}};
  CHECK(mark(2.49) == "at the floor");
  CHECK(mark(2.5) == "");
  all.real[0].deviations.clear();
  CHECK(mark(1.99) == "at the floor");
  CHECK(mark(2) == "");
  all.real[0].count = 500;  // another number: another floor
  CHECK(mark(0.1) == "");
  all.results[0].scores[0].samples = 64;
  CHECK(mark(0.1) == "meaningless");
}

TEST_CASE("A difference of frechet below a quarter of its bias is known as such") {
  Ablation all = compared(kTwo, kFrechet, {1, 1.249});
  CHECK(!second(all).is_within_bias);
  all.reference = {50'000, 1000};  // a bias of 1
  CHECK(second(all).is_within_bias);
  all.results[1].scores[0].value = 0.751;
  CHECK(second(all).is_within_bias);
  all.results[1].scores[0].value = 1.25;
  CHECK(!second(all).is_within_bias);
  const std::string other = "sliced_wasserstein (pixels)";
  Ablation pixels = compared(kTwo, other, {1, 1.1});
  pixels.reference = all.reference;
  CHECK(!second(pixels, other).is_within_bias);
}

TEST_CASE("The baseline is the first row, or the first that agrees with what the file names") {
  const auto baseline = [](const std::string& line) {
    const std::string tables =
        variant("a", "seeds = [0, 1]\n") + variant("b") + kSeeds + "sample.steps = [2, 3]\n" + line;
    return Comparison(compared(tables, [](const Cell&) { return std::vector<Score>{{kFrechet, 1, 1000}}; })).baseline;
  };
  CHECK(baseline("") == 0);
  CHECK(baseline("baseline = {}\n") == 0);
  CHECK(baseline("baseline = \"b\"\n") == 4);
  CHECK(baseline("baseline = { variant = \"b\", sample.steps = 3 }\n") == 5);
  CHECK(baseline("baseline = { sampler = { type = \"churned\" } }\n") == 2);
  CHECK(baseline("baseline = { sampler = { type = \"churned\" }, sample.steps = 3, variant = \"b\" }\n") == 7);
}

TEST_CASE("A baseline's sampler is known by its type and the parameters that are given") {
  const auto baseline = [](const std::string& line) {
    const std::string grid =
        "[[ablate]]\ncount = 1000\nsampler = [{ type = \"churned\", churn = 1.0 }, { type = \"churned\" }]\n";
    return Comparison(compared(grid + line, kFrechet, {1, 2})).baseline;
  };
  CHECK(baseline("baseline = { sampler = { type = \"churned\" } }\n") == 0);
  CHECK(baseline("baseline = { sampler = { type = \"churned\", churn = 0.0 } }\n") == 1);
}

TEST_CASE("A baseline that is no row is refused at its place") {
  const Experiment e = experiment_of(kTwo + "baseline = { sample.steps = 9 }\n");
  CHECK(
      message_of<PipelineErrors>([&] { baseline_row(cells_of(e), baseline_of(e), "a.toml"); }) ==
      R"(a.toml:34:12: table "ablate": "baseline" agrees with no row of the table: give it values that this [[ablate]] combines, or leave it out for the first row
  34 | baseline = { sample.steps = 9 }
     |            ^

1 problem in a.toml)");
}
