// An ablation's cells as a table: aligned for a terminal, CSV and JSON for programs.
#pragma once

#include "core/base/json.hpp"
#include "core/evaluation/ablation.hpp"

namespace sdpipe {

// The sampler's id with the parameters that differ from their defaults: "churn (churn = 1.0)".
std::string sampler_label(const PluginChoice& sampler);

// Names of scores as shown, in the order of the cells.
std::vector<std::string> score_columns(const Ablation& ablation);

// "frechet" of "frechet (features 1a2b3c4d)".
std::string short_name(const std::string& score);

// The score of that name, or null where the cell has none.
const Score* score_of(const std::vector<Score>& scores, std::string_view name);

// What tells the cells apart: "variant" where there are several, "sampler", "steps", and keys of [sample] that vary.
std::vector<std::string> varying_columns(const Ablation& ablation);
// One of those of one cell, as text.
std::string cell_text(const Cell& cell, std::string_view column);

// Headers and rows of text: what varies, NFE, each score by its short name, seconds. Rows of real images, "500 real
// images", come last.
struct TextTable {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
};
TextTable text_table(const Ablation& ablation);
// Each score's full name, with the features that it is measured in, and the number of samples; why cells failed.
std::vector<std::string> table_notes(const Ablation& ablation);

std::string aligned(const TextTable& table);
// RFC 4180. Columns: variant, sampler, parameters, [sample]'s keys without batch, nfe, each score, seconds, failure.
std::string to_csv(const Ablation& ablation);
Json to_json(const Ablation& ablation);

}  // namespace sdpipe
