// The tables of an ablation: for a terminal, in CSV, in JSON, and what stands below them.
#include "core/report/ablation_table.hpp"

#include "tests/report/compared.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

using Lines = std::vector<std::string>;

const std::string kFrechet = "frechet (features 1)";
const std::string kTwo = "[[ablate]]\nsampler = [{ type = \"step\" }, { type = \"churned\" }]\ncount = 1000\n";
const std::string kSeeds = kTwo + "sample.seed = [0, 1, 2]\n";

std::string printed(const Ablation& ablation) {
  std::string text;
  for (const ScoreTable& score : score_tables(ablation)) text += score.header + "\n" + aligned(score.table) + "\n";
  for (const std::string& note : table_notes(ablation)) text += note + "\n";
  return text;
}

Lines lines_of(const std::string& csv) {
  Lines lines;
  for (size_t at = 0; at < csv.size();) {
    const size_t end = csv.find("\r\n", at);
    lines.push_back(csv.substr(at, end - at));
    at = end + 2;
  }
  return lines;
}

}  // namespace

TEST_CASE("A table has a line for each row, its spread, its difference with a verdict, and real images") {
  Ablation all = compared(kSeeds, kFrechet, {10, 20, 30, 9, 18.9, 29.1});
  all.real = {{1000, {{kFrechet, 1.39, 1000}}, 4, {0.125}}};
  all.reference = {50'000, 1400};
  CHECK(printed(all) ==
        R"(frechet (features 1), 1,000 samples a cell against 50,000 images; 3 sample seeds, 1 training seed
sampler            steps  NFE  value        against step, 5                    seconds
step                   5    5  20 ± 10                                            1.00
churned                5    5  19 ± 10      -1.000 ± 0.058  better                1.00
1,000 real images              1.39 ± 0.12  floor, 4 parts; expected bias 1.4

value: mean ± standard deviation over sample seeds
against: mean difference ± standard error, paired by seed; better or worse at 95 % by Student's t, beyond 4.30 standard errors for 3 pairs
)");
}

TEST_CASE("With one seed no error is made up, and the table says how to have one") {
  CHECK(printed(compared(kTwo, kFrechet, {10, 20})) ==
        R"(frechet (features 1), 1,000 samples a cell; 1 sample seed, 1 training seed
sampler  steps  NFE  value  against step, 5  seconds
step         5    5     10                      1.00
churned      5    5     20  +10                 1.00

a difference without ± is of 1 sample seed: its error is not known, and it is not judged; sample.seed = [0, 1, 2] gives one
)");
}

TEST_CASE("Several trainings have a second spread, and variants of one are named") {
  const std::string tables =
      "[[variant]]\nname = \"a\"\nseeds = [0, 1]\n[[variant]]\nname = \"b\"\n"
      "[[ablate]]\ncount = 1000\nsample.seed = [0, 1]\n";
  CHECK(printed(compared(tables, kFrechet, {1, 3, 10, 12, 5, 5})) ==
        R"(frechet (features 1), 1,000 samples a cell; 2 sample seeds, 1 to 2 training seeds
variant  sampler           steps  NFE  value                       against a, step (eta = 0.5), 5  seconds
a        step (eta = 0.5)      5    5  6.5 ± 1.4 (training ± 6.4)                                     1.00
b        step (eta = 0.5)      5    5  5 ± 0                                                 -1.5     1.00

value: mean ± standard deviation over sample seeds
training ±: standard deviation over training seeds of their means
a difference without ± has 1 training seed on one side and several on the other: its error is not known, and it is not judged; seeds = [0, 1, 2] of both variants gives one
1 training seed of b: differences between variants may be those of training
)");
}

TEST_CASE("Several variants of one training each are said to be that") {
  const std::string tables = "[[variant]]\nname = \"a\"\n[[variant]]\nname = \"b\"\n[[ablate]]\ncount = 1000\n";
  const std::string note = "1 training seed: differences between variants may be those of training";
  CHECK(table_notes(compared(tables, kFrechet, {1, 2})).back() == note);
  CHECK(table_notes(compared(kSeeds, kFrechet, {1, 2, 3, 4, 5, 6})).back() != note);
}

TEST_CASE("A value without meaning is marked as such and not compared; what is within the bias has a star") {
  const std::string few = "[[ablate]]\nsampler = [{ type = \"step\" }, { type = \"churned\" }]\ncount = 8\n";
  const std::string text = printed(compared(few, kFrechet, {10, 20}));
  CHECK(text.find("10 meaningless") != std::string::npos);
  CHECK(text.find("+10") == std::string::npos);
  Ablation all = compared(kTwo, kFrechet, {1, 1.2});
  all.reference = {50'000, 1000};
  CHECK(printed(all).find("+0.2 *\n") == std::string::npos);  // the seconds follow
  CHECK(printed(all).find("+0.2 *") != std::string::npos);
  CHECK(table_notes(all).back() ==
        "*: less than a quarter of 1, the bias of frechet for 1,000 samples, which depends on the model too");
}

TEST_CASE("Rows that share no starts are marked as unpaired") {
  const Ablation all = compared(
      "[[ablate]]\ncount = 1000\nsample.prior = [\"empirical\", \"noise\"]\n"
      "sample.seed = [0, 1, 2]\n",
      kFrechet, {1, 2, 3, 101, 102, 103});
  const std::string text = printed(all);
  CHECK(text.find("+100.00 ± 0.82  worse (unpaired)") != std::string::npos);
  CHECK(text.find("\nunpaired: the two rows do not share seeds and prior, so they are judged by Welch's t\n") !=
        std::string::npos);
}

TEST_CASE("A key that does not act makes no second row, has no text, and is told") {
  const std::string grid =
      "[[ablate]]\ncount = 1000\nsample.prior = [\"gaussian\", \"noise\"]\n"
      "sample.basis = [\"dct\", \"pixel\"]\n";
  const Ablation all = compared(grid, kFrechet, {1, 2, 3});
  const TextTable table = score_tables(all).at(0).table;
  REQUIRE(table.rows.size() == 3);
  CHECK(table.columns.at(3) == "basis");
  CHECK(table.rows[0][3] == "dct");
  CHECK(table.rows[1][3] == "pixel");
  CHECK(table.rows[2][3] == "");
  CHECK(table_notes(all).back() == "sample.basis acts under prior = gaussian only");
}

TEST_CASE("Each score has its own table, with its own numbers of samples") {
  const std::string grid = "\n[[ablate]]\ncount = ";
  Ablation all = compared(grid + "8\n" + grid + "1600\n", "recall (features 1)", {0.5, 0.25});
  for (CellResult& result : all.results) result.scores.push_back({kFrechet, 1, 1600});
  const std::vector<ScoreTable> tables = score_tables(all);
  REQUIRE(tables.size() == 2);
  CHECK(tables[0].header == "recall (features 1), 8 or 1,600 samples a cell; 1 sample seed, 1 training seed");
  CHECK(tables[1].header == kFrechet + ", 1,600 samples a cell; 1 sample seed, 1 training seed");
  CHECK(tables[0].table.rows[1][4] == "0.25");
}

TEST_CASE("Precision and recall of more samples than there are real images are told") {
  Ablation all = compared("[[ablate]]\ncount = 1000\n", "recall (features 1)", {0.5});
  all.reference = {400, 1};
  CHECK(table_notes(all) == Lines{"recall: more samples than the 400 real images of the reference; with equal numbers "
                                  "it would differ"});
  all.reference = {1000, 1};
  CHECK(table_notes(all).empty());
}

TEST_CASE("Rows with failed cells say how many are left; where all failed the table says so") {
  Ablation all = compared(kSeeds, kFrechet, {1, 2, 3, 4, 5, 6});
  all.results[4] = {"4", 0, 0, {}, "diverged"};
  CHECK(score_tables(all)[0].table.rows[1][3] == "5.0 ± 1.4 (2 of 3 cells)");
  CHECK(table_notes(all).back() == "failed: churned, 5, 1: diverged");
  for (CellResult& result : all.results) result = {"id", 0, 0, {}, "diverged"};
  const ScoreTable table = score_tables(all).at(0);
  CHECK(table.header == "every cell failed");
  CHECK(table.table.rows[0] == Lines{"step", "5", "", "failed", "", ""});
}

TEST_CASE("CSV has one line a row with mean, sd and n, and one line a cell in a second file") {
  const Ablation all = compared(kSeeds, kFrechet, {10, 20, 30, 9, 18, 30});
  const Lines rows = lines_of(to_csv(all)), cells = lines_of(cells_to_csv(all));
  REQUIRE(rows.size() == 3);
  CHECK(
      rows[0] ==
      "variant,sampler,parameters,steps,count,prior,prior_components,basis,spacing,t_min,clamp,nfe,frechet (features "
      "1) mean,"
      "frechet (features 1) sd,frechet (features 1) n,frechet (features 1) training sd,frechet (features 1) trainings,"
      "frechet (features 1) difference,frechet (features 1) standard error,frechet (features 1) degrees of freedom,"
      "frechet (features 1) verdict,frechet (features 1) mark,seconds,cells,failed");
  CHECK(rows[1] == ",step,,5,1000,mixture,0,dct,uniform,0.0,false,5,20,10,3,,1,,,,,,1.000,3,0");
  CHECK(rows[2].starts_with(",churned,,5,1000,mixture,0,dct,uniform,0.0,false,5,19,"));
  CHECK(rows[2].find(",-1,0.577") != std::string::npos);
  CHECK(rows[2].ends_with(",2,not told apart,,1.000,3,0"));
  REQUIRE(cells.size() == 7);
  CHECK(cells[0] ==
        "variant,run_seed,sampler,parameters,steps,count,prior,prior_components,basis,spacing,t_min,seed,clamp,nfe,"
        "frechet (features 1),"
        "seconds,failure");
  CHECK(cells[5] == ",1,churned,,5,1000,mixture,0,dct,uniform,0.0,1,false,5,18,1.000,");
}

TEST_CASE("JSON holds the value of every seed, the least of them as min, and the difference") {
  Ablation all = compared(kSeeds, kFrechet, {10, 20, 30, 9, 18, 30});
  all.real.push_back({1200, {{kFrechet, 0.5, 1200}}, 2, {0.25}});
  const Json j = to_json(all);
  CHECK(j["cells"].size() == 6);
  REQUIRE(j["rows"].size() == 2);
  CHECK(j["baseline"] == Json(0));
  CHECK(j["rows"][0]["cells"] == Json::array({"0", "1", "2"}));
  CHECK(!j["rows"][0]["sample"].contains("seed"));
  const Json score = j["rows"][1]["scores"][kFrechet];
  CHECK(score["mean"] == Json(19.0));
  CHECK(score["n"] == Json(3));
  CHECK(score["min"] == Json(9.0));
  CHECK(score["training_sd"].is_null());
  CHECK(score["values"][2] == Json({{"run_seed", 1}, {"sample_seed", 2}, {"value", 30.0}}));
  CHECK(score["against_baseline"]["verdict"] == Json("not told apart"));
  CHECK(score["against_baseline"]["paired"] == Json(true));
  CHECK(score["against_baseline"]["degrees_of_freedom"] == Json(2.0));
  CHECK(!j["rows"][0]["scores"][kFrechet].contains("against_baseline"));
  CHECK(j["real_images"] ==
        Json::array({{{"samples", 1200}, {"parts", 2}, {"scores", {{kFrechet, 0.5}}}, {"sd", {{kFrechet, 0.25}}}}}));
}
