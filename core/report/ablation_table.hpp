// An ablation as tables for people and for programs. Cells that differ in seeds alone are one row
// (core/evaluation/rows.hpp).
#pragma once

#include "core/base/json.hpp"
#include "core/evaluation/rows.hpp"

namespace sdpipe {

// The sampler's id with the parameters that differ from their defaults: "churn (churn = 1.0)".
std::string sampler_label(const PluginChoice& sampler);
// Those alone, between separators: "churn = 1.0".
std::string parameters_of(const PluginChoice& sampler, std::string_view separator);

// Names of scores as shown, in the order of the cells.
std::vector<std::string> score_columns(const Ablation& ablation);

// "frechet" of "frechet (features 1a2b3c4d)".
std::string short_name(const std::string& score);

// The keys of [sample] but `batch`, which is no setting to compare.
std::vector<std::string> sample_keys(const Cell& cell);

// What tells the cells apart: "variant" where there are several, "sampler", "steps", and keys of [sample] that vary.
std::vector<std::string> varying_columns(const Ablation& ablation);
// One of those of one cell, as text.
std::string cell_text(const Cell& cell, std::string_view column);

// The same of rows: a variant's seeds are one variant, "seed" is no column, and a key that does not act has no text.
std::vector<std::string> row_columns(const Ablation& ablation);
std::string row_text(const Cell& cell, std::string_view column);
// All of a row, "soft, multistep, 10".
std::string words_of(const Comparison& comparison, const Row& row);

struct TextTable {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
};

// One score: what it is and of how many samples and seeds; a line for each row with what varies, NFE, the mean with its
// spread, the difference to the baseline with a verdict, seconds of a cell; then real images, for each number of them.
struct ScoreTable {
  std::string score;  // its full name
  std::string header;
  TextTable table;
};
// One for each score; where all cells failed, one that says so.
std::vector<ScoreTable> score_tables(const Ablation& ablation);
// What the tables' signs mean, what limits them, which settings made no difference, why cells failed.
std::vector<std::string> table_notes(const Ablation& ablation);

std::string aligned(const TextTable& table);

// RFC 4180. One line a row: variant, sampler, parameters, [sample]'s keys without batch and seed, nfe, of each score
// mean, sd, n and what else is known, seconds, cells, failed.
std::string to_csv(const Ablation& ablation);
// One line a cell: variant, run_seed, sampler, parameters, [sample]'s keys without batch, nfe, each score, seconds,
// failure.
std::string cells_to_csv(const Ablation& ablation);
// Cells, rows with the value of every seed, what real images score, the notes.
Json to_json(const Ablation& ablation);

}  // namespace sdpipe
