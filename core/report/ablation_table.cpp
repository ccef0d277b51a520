#include "core/report/ablation_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/base/text.hpp"
#include "core/report/numbers.hpp"

namespace sdpipe {
namespace {

// "steps = 10" without quotes around words.
std::string plain(const Setting& value) {
  const std::string* word = std::get_if<std::string>(&value);
  return word ? *word : toml_text(value);
}

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

std::string number_text(double value) { return std::isfinite(value) ? fmt::format("{:.4g}", value) : "none"; }

void add_unique(std::vector<std::string>& names, const std::string& name) {
  if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
}

std::string quoted(const std::string& field) {
  if (field.find_first_of(",\"\r\n") == std::string::npos) return field;
  std::string out = "\"";
  for (const char c : field) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

std::string line_of(const std::vector<std::string>& fields) {
  std::string line;
  for (size_t i = 0; i < fields.size(); ++i) {
    if (i > 0) line += ',';
    line += quoted(fields[i]);
  }
  return line + "\r\n";
}

// `batch` is no setting to compare.
std::vector<std::string> sample_keys(const Cell& cell) {
  std::vector<std::string> keys;
  for (const Settings::Entry& entry : cell.pipeline.sample.entries()) {
    if (entry.key != "batch") keys.push_back(entry.key);
  }
  return keys;
}

std::vector<std::string> row_of(const Cell& cell, const CellResult& result, const std::vector<std::string>& varying,
                                const std::vector<std::string>& scores) {
  std::vector<std::string> row;
  for (const std::string& column : varying) row.push_back(cell_text(cell, column));
  row.push_back(result.failure.empty() ? std::to_string(result.nfe) : "");
  for (const std::string& name : scores) {
    const Score* score = score_of(result.scores, name);
    row.push_back(score ? number_text(score->value) : result.failure.empty() ? "" : "failed");
  }
  row.push_back(result.failure.empty() ? fmt::format("{:.2f}", result.seconds) : "");
  return row;
}

// "500" or "500 or 1000": of how many samples a cell the score was taken.
std::string counts_of(const Ablation& ablation, const std::string& score) {
  std::set<int64_t> counts;
  for (const CellResult& result : ablation.results) {
    if (const Score* found = score_of(result.scores, score)) counts.insert(found->samples);
  }
  std::vector<std::string> words;
  for (const int64_t count : counts) words.push_back(std::to_string(count));
  return join(words, " or ");
}

Json scores_json(const std::vector<Score>& scores) {
  Json j = Json::object();
  for (const Score& score : scores) j[score.name] = std::isfinite(score.value) ? Json(score.value) : Json(nullptr);
  return j;
}

Json setting_json(const Setting& value) {
  return std::visit(
      [](const auto& v) -> Json {
        if constexpr (std::is_same_v<std::decay_t<decltype(v)>, ImageSetting>)
          return v.path;
        else
          return v;
      },
      value);
}

Json settings_json(const Settings& settings) {
  Json j = Json::object();
  for (const Settings::Entry& entry : settings.entries()) j[entry.key] = setting_json(entry.value);
  return j;
}

}  // namespace

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

const Score* score_of(const std::vector<Score>& scores, std::string_view name) {
  const auto found = std::find_if(scores.begin(), scores.end(), [&](const Score& s) { return s.name == name; });
  return found == scores.end() ? nullptr : &*found;
}

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

TextTable text_table(const Ablation& ablation) {
  const std::vector<std::string> varying = varying_columns(ablation), scores = score_columns(ablation);
  TextTable table{varying, {}};
  table.columns.push_back("NFE");
  for (const std::string& name : scores) table.columns.push_back(short_name(name));
  table.columns.push_back("seconds");
  for (size_t i = 0; i < ablation.cells.size(); ++i)
    table.rows.push_back(row_of(ablation.cells[i], ablation.results[i], varying, scores));
  for (const RealScores& real : ablation.real) {
    std::vector<std::string> row(varying.size() + 1);
    row[0] = fmt::format("{} real images", grouped(static_cast<uint64_t>(real.count)));
    for (const std::string& name : scores) {
      const Score* score = score_of(real.scores, name);
      row.push_back(score ? number_text(score->value) : "");
    }
    row.push_back("");
    table.rows.push_back(std::move(row));
  }
  return table;
}

std::vector<std::string> table_notes(const Ablation& ablation) {
  std::vector<std::string> notes;
  for (const std::string& name : score_columns(ablation))
    notes.push_back(fmt::format("{}, of {} samples a cell", name, counts_of(ablation, name)));
  const std::vector<std::string> varying = varying_columns(ablation);
  for (size_t i = 0; i < ablation.cells.size(); ++i) {
    if (ablation.results[i].failure.empty()) continue;
    std::vector<std::string> words;
    for (const std::string& column : varying) words.push_back(cell_text(ablation.cells[i], column));
    notes.push_back(fmt::format("failed: {}: {}", join(words), ablation.results[i].failure));
  }
  return notes;
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
      is_number[i] = is_number[i] && number;
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

std::string to_csv(const Ablation& ablation) {
  const std::vector<std::string> keys = sample_keys(ablation.cells.at(0)), scores = score_columns(ablation);
  std::vector<std::string> header = {"variant", "sampler", "parameters"};
  header.insert(header.end(), keys.begin(), keys.end());
  header.push_back("nfe");
  header.insert(header.end(), scores.begin(), scores.end());
  header.insert(header.end(), {"seconds", "failure"});
  std::string out = line_of(header);
  for (size_t i = 0; i < ablation.cells.size(); ++i) {
    const Cell& cell = ablation.cells[i];
    const CellResult& result = ablation.results[i];
    const bool done = result.failure.empty();
    std::vector<std::string> row = {cell.variant, cell.pipeline.sampler.plugin->id(),
                                    parameters_of(cell.pipeline.sampler, "; ")};
    for (const std::string& key : keys) row.push_back(cell_text(cell, key));
    row.push_back(done ? std::to_string(result.nfe) : "");
    for (const std::string& name : scores) {
      const Score* score = score_of(result.scores, name);
      row.push_back(score && std::isfinite(score->value) ? fmt::format("{}", score->value) : "");
    }
    row.push_back(done ? fmt::format("{:.3f}", result.seconds) : "");
    row.push_back(result.failure);
    out += line_of(row);
  }
  return out;
}

Json to_json(const Ablation& ablation) {
  Json cells = Json::array(), real = Json::array();
  for (size_t i = 0; i < ablation.cells.size(); ++i) {
    const Cell& cell = ablation.cells[i];
    const CellResult& result = ablation.results[i];
    Json sampler = {{"type", cell.pipeline.sampler.plugin->id()}};
    sampler.update(settings_json(cell.pipeline.sampler.settings));
    Json j = {{"id", result.id}};
    if (!cell.variant.empty()) j["variant"] = cell.variant;
    j["sampler"] = sampler;
    j["sample"] = settings_json(cell.pipeline.sample);
    j["sample"].erase("batch");
    if (result.failure.empty()) {
      j["nfe"] = result.nfe;
      j["seconds"] = result.seconds;
      j["scores"] = scores_json(result.scores);
    } else {
      j["failure"] = result.failure;
    }
    cells.push_back(std::move(j));
  }
  for (const RealScores& r : ablation.real) real.push_back({{"samples", r.count}, {"scores", scores_json(r.scores)}});
  return {{"cells", cells}, {"real_images", real}};
}

}  // namespace sdpipe
