// Cells that differ in seeds alone, as one row: means over the seeds, their spread, and how far rows are apart.
//
// A row has T trainings (run.seed) with S samplings each (sample.seed); x_ts is a score of one cell:
//
//   mean                   1/T sum_t x_t,  x_t = 1/S sum_s x_ts
//   over sample seeds      root of the pooled variance within trainings, sum_t sum_s (x_ts - x_t)^2 / (sum_t (S - 1))
//   over training seeds    the standard deviation of the x_t; it holds what is left of the sample seeds' spread too
//
// What two rows are compared by are the trainings' means x_t where either has several trainings, because samples of one
// training are no independent trials of it; otherwise the x_1s. They are paired by seed where the rows share seeds
// and the prior, so that what a seed does to both cancels; else the rows are compared without pairs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/evaluation/ablation.hpp"
#include "core/evaluation/statistics.hpp"

namespace sdpipe {

// One cell's score.
struct SeededValue {
  int64_t run_seed = 0, sample_seed = 0;
  double value = 0;
};

struct RowScore {
  std::string name;                                            // as shown
  int64_t samples = 0;                                         // of each cell
  std::vector<SeededValue> values;                             // by training, then by sample seed; finite ones alone
  double mean = 0;                                             // NaN where there are no values
  std::optional<double> sample_deviation, training_deviation;  // nothing for one seed
};

struct Row {
  std::vector<size_t> cells;  // of the ablation; the first stands for all
  std::vector<RowScore> scores;
  double nfe = 0, seconds = 0;             // means of a cell
  size_t failed = 0;                       // cells
  size_t run_seeds = 0, sample_seeds = 0;  // how many different ones its cells have
};

// Of each row, its cells by their index, in the order of the first.
std::vector<std::vector<size_t>> cells_by_row(const std::vector<Cell>& cells);

std::vector<Row> rows_of(const Ablation& ablation);

// Null where there is none.
const RowScore* score_of(const Row& row, std::string_view name);
const Score* score_of(const std::vector<Score>& scores, std::string_view name);

size_t count_trainings(const RowScore& score);
// The largest number of samplings that a training of this row has.
size_t count_samplings(const RowScore& score);

// The pattern that one of the grids gives; nothing where none does.
std::optional<RowPattern> baseline_of(const Experiment& experiment);
// The row that the others are compared with: the first that agrees with the pattern. Throws PipelineErrors, placed at
// the pattern, where there is none; `file` is its name in the message.
size_t baseline_row(const std::vector<Cell>& cells, const std::optional<RowPattern>& pattern, const std::string& file);

enum class Verdict { better, worse, not_told_apart, unjudged };
std::string_view to_text(Verdict verdict);  // "better", "worse", "not told apart", ""

struct RowDifference {
  Difference difference;
  Verdict verdict = Verdict::unjudged;  // where no error is known, or the score has no better
  bool is_within_bias = false;          // of frechet: less than a quarter of the bias of so many samples
};

// The rows of an ablation beside its baseline. Borrows it.
struct Comparison {
  // Throws PipelineErrors where the ablation's baseline is none of its rows.
  explicit Comparison(const Ablation& ablation);

  const Ablation& ablation;
  std::vector<Row> rows;
  size_t baseline;

  // The cell that stands for the row.
  const Cell& cell(const Row& row) const { return ablation.cells[row.cells[0]]; }
  // rows[row] less the baseline. Nothing for the baseline itself, and where there is nothing to compare: the score is
  // missing, was taken of another number of samples, or is meaningless for so few.
  std::optional<RowDifference> difference(size_t row, std::string_view score) const;
  // Beside a value: "meaningless" for so few samples; "at the floor" where a frechet is below what real images score
  // and two of its deviations, as far as they are known; or "".
  std::string_view mark(const RowScore& score) const;
};

// Of a score of real images over their parts; nothing for one part.
std::optional<double> deviation_of(const RealScores& real, std::string_view score);

}  // namespace sdpipe
