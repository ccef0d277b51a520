#include "core/report/ablation_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/base/text.hpp"
#include "core/config/tables.hpp"
#include "core/report/numbers.hpp"

namespace sdpipe {
namespace {

// "steps = 10" without quotes around words.
std::string plain(const Setting& value) {
  const std::string* word = std::get_if<std::string>(&value);
  return word ? *word : toml_text(value);
}

}  // namespace

std::string parameters_of(const PluginChoice& sampler, std::string_view separator) {
  std::string text;
  for (const Settings::Entry& entry : sampler.settings.entries()) {
    const auto& schema = sampler.plugin->schema;
    const auto param = std::find_if(schema.begin(), schema.end(), [&](const Param& p) { return p.key == entry.key; });
    const bool is_default = param != schema.end() && param->def && *param->def == entry.value;
    if (!is_default) text += fmt::format("{}{} = {}", text.empty() ? "" : separator, entry.key, plain(entry.value));
  }
  return text;
}

namespace {

void add_unique(std::vector<std::string>& names, const std::string& name) {
  if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
}

}  // namespace

std::vector<std::string> sample_keys(const Cell& cell) {
  std::vector<std::string> keys;
  for (const Settings::Entry& entry : cell.pipeline.sample.entries()) {
    if (entry.key != "batch") keys.push_back(entry.key);
  }
  return keys;
}

std::string sampler_label(const PluginChoice& sampler) {
  const std::string parameters = parameters_of(sampler, ", ");
  return parameters.empty() ? sampler.plugin->id() : fmt::format("{} ({})", sampler.plugin->id(), parameters);
}

std::vector<std::string> score_columns(const Ablation& ablation) {
  std::vector<std::string> names;
  for (const CellResult& result : ablation.results) {
    for (const Score& score : result.scores) add_unique(names, score.name);
  }
  return names;
}

std::string short_name(const std::string& score) { return score.substr(0, score.find(" (")); }

std::vector<std::string> varying_columns(const Ablation& ablation) {
  std::vector<std::string> columns;
  std::vector<std::string> candidates = {"variant", "sampler"};
  for (const std::string& key : sample_keys(ablation.cells.at(0))) candidates.push_back(key);
  for (const std::string& column : candidates) {
    std::set<std::string> values;
    for (const Cell& cell : ablation.cells) values.insert(cell_text(cell, column));
    if (values.size() > 1 || column == "sampler" || column == "steps") columns.push_back(column);
  }
  return columns;
}

std::string cell_text(const Cell& cell, std::string_view column) {
  if (column == "variant") return cell.variant;
  if (column == "sampler") return sampler_label(cell.pipeline.sampler);
  return plain(cell.pipeline.sample.at(column).value);
}

std::vector<std::string> row_columns(const Ablation& ablation) {
  std::vector<std::string> columns;
  for (const std::string& column : varying_columns(ablation)) {
    std::set<std::string> values;
    for (const Cell& cell : ablation.cells) values.insert(row_text(cell, column));
    const bool varies = values.size() > 1 || column == "sampler" || column == "steps";
    if (varies && column != "seed") columns.push_back(column);
  }
  return columns;
}

std::string row_text(const Cell& cell, std::string_view column) {
  if (column == "variant") return cell.family;
  const bool is_key = column != "sampler";
  return is_key && idle_condition("sample", column, cell.pipeline.sample) ? "" : cell_text(cell, column);
}

namespace {

// "3 sample seeds", or "1 to 3 sample seeds" where rows differ.
std::string seeds_text(const std::vector<Row>& rows, size_t Row::*member, std::string_view noun) {
  const auto [least, most] =
      std::minmax_element(rows.begin(), rows.end(), [&](const Row& a, const Row& b) { return a.*member < b.*member; });
  const std::string text = counted((*most).*member, noun);
  return (*least).*member == (*most).*member ? text : fmt::format("{} to {}", (*least).*member, text);
}

// "4.31 ± 0.12", "4.31 ± 0.12 (training ± 0.30)", "4.31 ± 0.12 (2 of 3 cells) at the floor"
std::string value_text(const Comparison& comparison, const Row& row, const std::string& name) {
  const RowScore* score = score_of(row, name);
  if (!score) return row.failed == row.cells.size() ? "failed" : "";
  std::string text = with_error(score->mean, score->sample_deviation);
  if (score->training_deviation) text += fmt::format(" (training ± {})", error_text(*score->training_deviation));
  if (score->values.size() < row.cells.size())
    text += fmt::format(" ({} of {})", score->values.size(), counted(row.cells.size(), "cell"));
  const std::string_view mark = comparison.mark(*score);
  return mark.empty() ? text : fmt::format("{} {}", text, mark);
}

// "+0.11 ± 0.09  not told apart"
std::string difference_text(const Comparison& comparison, size_t row, const std::string& score) {
  const std::optional<RowDifference> found = comparison.difference(row, score);
  if (!found) return "";
  const Difference& difference = found->difference;
  std::string text = with_error(difference.mean, difference.standard_error, true);
  if (found->verdict != Verdict::unjudged) text += fmt::format("  {}", to_text(found->verdict));
  if (!difference.is_paired && difference.standard_error) text += " (unpaired)";
  return found->is_within_bias ? text + " *" : text;
}

// "floor, 20 parts; expected bias 1.4"
std::string floor_text(const Ablation& ablation, const RealScores& real, const std::string& score) {
  std::string text = "floor, " + counted(static_cast<uint64_t>(real.parts), "part");
  if (score_kind(score).features > 0 && ablation.reference.images > 0)
    text += fmt::format("; expected bias {:.2g}", ablation.reference.expected_frechet(real.count));
  return text;
}

// Of one score: its header, its rows and the floor.
class TableOf {
 public:
  TableOf(const Comparison& comparison, std::string score)
      : comparison_(comparison), score_(std::move(score)), columns_(row_columns(comparison.ablation)) {}

  ScoreTable make() const {
    ScoreTable made{score_, score_.empty() ? "every cell failed" : header(), {columns_, {}}};
    auto& [columns, rows] = made.table;
    columns.insert(columns.end(), {"NFE", "value"});
    if (has_others()) columns.push_back("against " + words_of(comparison_, comparison_.rows[comparison_.baseline]));
    columns.push_back("seconds");
    for (size_t i = 0; i < comparison_.rows.size(); ++i) rows.push_back(line(i));
    for (const RealScores& real : comparison_.ablation.real) {
      if (score_of(real.scores, score_)) rows.push_back(line(real));
    }
    return made;
  }

 private:
  bool has_others() const { return comparison_.rows.size() > 1; }

  // "recall (features 1a2b3c4d), 500 or 1,000 samples a cell; 3 sample seeds, 1 training seed"
  std::string header() const {
    std::set<int64_t> counts;
    for (const Row& row : comparison_.rows) {
      if (const RowScore* score = score_of(row, score_)) counts.insert(score->samples);
    }
    std::vector<std::string> numbers;
    for (const int64_t count : counts) numbers.push_back(grouped(static_cast<uint64_t>(count)));
    const int64_t images = comparison_.ablation.reference.images;
    const bool against_all = score_kind(score_).features > 0 && images > 0;
    return fmt::format("{}, {} samples a cell{}; {}, {}", score_, join(numbers, " or "),
                       against_all ? " against " + counted(static_cast<uint64_t>(images), "image") : "",
                       seeds_text(comparison_.rows, &Row::sample_seeds, "sample seed"),
                       seeds_text(comparison_.rows, &Row::run_seeds, "training seed"));
  }

  std::vector<std::string> line(size_t i) const {
    const Row& row = comparison_.rows[i];
    const bool done = row.failed < row.cells.size();
    std::vector<std::string> line;
    for (const std::string& column : columns_) line.push_back(row_text(comparison_.cell(row), column));
    line.push_back(done ? fmt::format("{:.10g}", row.nfe) : "");
    line.push_back(value_text(comparison_, row, score_));
    if (has_others()) line.push_back(difference_text(comparison_, i, score_));
    line.push_back(done ? fmt::format("{:.2f}", row.seconds) : "");
    return line;
  }

  std::vector<std::string> line(const RealScores& real) const {
    std::vector<std::string> line(columns_.size() + 1);
    line[0] = counted(static_cast<uint64_t>(real.count), "real image");
    line.push_back(with_error(score_of(real.scores, score_)->value, deviation_of(real, score_)));
    const std::string what = floor_text(comparison_.ablation, real, score_);
    if (has_others())
      line.push_back(what);
    else
      line.back() += "  " + what;
    line.push_back("");
    return line;
  }

  const Comparison& comparison_;
  std::string score_;
  std::vector<std::string> columns_;
};

}  // namespace

std::string words_of(const Comparison& comparison, const Row& row) {
  std::vector<std::string> words;
  for (const std::string& column : row_columns(comparison.ablation)) {
    const std::string text = row_text(comparison.cell(row), column);
    if (!text.empty()) words.push_back(text);
  }
  return join(words);
}

std::vector<ScoreTable> score_tables(const Ablation& ablation) {
  const Comparison comparison(ablation);
  std::vector<ScoreTable> tables;
  for (const std::string& score : score_columns(ablation)) tables.push_back(TableOf(comparison, score).make());
  if (tables.empty()) tables.push_back(TableOf(comparison, "").make());
  return tables;
}

std::string aligned(const TextTable& table) {
  const size_t columns = table.columns.size();
  std::vector<size_t> width(columns);
  std::vector<bool> is_number(columns, true);
  for (size_t i = 0; i < columns; ++i) {
    width[i] = text_columns(table.columns[i]);
    for (const auto& row : table.rows) {
      width[i] = std::max(width[i], text_columns(row[i]));
      const bool stands_for_one = row[i].empty() || row[i] == "failed" || row[i] == "none";
      const bool number = stands_for_one || row[i][0] == '-' || (row[i][0] >= '0' && row[i][0] <= '9');
      is_number[i] = is_number[i] && number && row[i].find("±") == std::string::npos;
    }
  }
  std::string out;
  const auto add = [&](const std::vector<std::string>& row) {
    std::string line;
    for (size_t i = 0; i < columns; ++i) {
      const std::string space(width[i] - text_columns(row[i]), ' ');
      line += (i ? "  " : "") + (is_number[i] ? space + row[i] : row[i] + space);
    }
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  };
  add(table.columns);
  for (const auto& row : table.rows) add(row);
  return out;
}

}  // namespace sdpipe
