#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/report/ablation_table.hpp"

namespace sdpipe {
namespace {

// ------------------------------------------------------------------------------------------------ CSV

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

// Empty where there is no finite number.
std::string field(std::optional<double> value) {
  return value && std::isfinite(*value) ? fmt::format("{}", *value) : "";
}

std::string seconds_field(double seconds) { return std::isfinite(seconds) ? fmt::format("{:.3f}", seconds) : ""; }

// What a line has of each score.
constexpr const char* kMeasures[] = {
    "mean",    "sd",  "n", "training sd", "trainings", "difference", "standard error", "degrees of freedom",
    "verdict", "mark"};

// One for each of kMeasures.
std::vector<std::string> measures(const Comparison& comparison, size_t row, const std::string& name) {
  const RowScore* score = score_of(comparison.rows[row], name);
  if (!score) return std::vector<std::string>(std::size(kMeasures));
  std::vector<std::string> fields = {field(score->mean), field(score->sample_deviation),
                                     std::to_string(score->values.size()), field(score->training_deviation),
                                     std::to_string(count_trainings(*score))};
  if (const auto found = comparison.difference(row, name)) {
    const Difference& d = found->difference;
    const auto degrees = d.standard_error ? std::optional(d.degrees_of_freedom) : std::nullopt;
    fields.insert(fields.end(),
                  {field(d.mean), field(d.standard_error), field(degrees), std::string(to_text(found->verdict))});
  } else {
    fields.insert(fields.end(), 4, "");
  }
  fields.emplace_back(comparison.mark(*score));
  return fields;
}

void append(std::vector<std::string>& fields, const std::vector<std::string>& more) {
  fields.insert(fields.end(), more.begin(), more.end());
}

// ------------------------------------------------------------------------------------------------ JSON

Json number(std::optional<double> value) { return value && std::isfinite(*value) ? Json(*value) : Json(nullptr); }

Json scores_json(const std::vector<Score>& scores) {
  Json j = Json::object();
  for (const Score& score : scores) j[score.name] = number(score.value);
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

Json settings_json(const Settings& settings, const std::vector<std::string>& without = {}) {
  Json j = Json::object();
  for (const Settings::Entry& entry : settings.entries()) {
    if (std::find(without.begin(), without.end(), entry.key) == without.end()) j[entry.key] = setting_json(entry.value);
  }
  return j;
}

Json sampler_json(const PluginChoice& sampler) {
  Json j = {{"type", sampler.plugin->id()}};
  j.update(settings_json(sampler.settings));
  return j;
}

Json cell_json(const Cell& cell, const CellResult& result) {
  Json j = {{"id", result.id}};
  if (!cell.variant.empty()) j["variant"] = cell.variant;
  j["run_seed"] = cell.pipeline.run.integer("seed");
  j["sampler"] = sampler_json(cell.pipeline.sampler);
  j["sample"] = settings_json(cell.pipeline.sample, {"batch"});
  if (result.failure.empty()) {
    j["nfe"] = result.nfe;
    j["seconds"] = result.seconds;
    j["scores"] = scores_json(result.scores);
  } else {
    j["failure"] = result.failure;
  }
  return j;
}

Json difference_json(const RowDifference& found) {
  const Difference& difference = found.difference;
  Json j = {{"mean", number(difference.mean)},
            {"standard_error", number(difference.standard_error)},
            {"paired", difference.is_paired},
            {"below_quarter_of_bias", found.is_within_bias}};
  if (difference.standard_error) j["degrees_of_freedom"] = difference.degrees_of_freedom;
  if (found.verdict != Verdict::unjudged) j["verdict"] = std::string(to_text(found.verdict));
  return j;
}

// `min` is what others print as the best of several seeds; no table of ours does.
Json score_json(const Comparison& comparison, size_t row, const RowScore& score) {
  Json values = Json::array();
  std::optional<double> least;
  for (const SeededValue& value : score.values) {
    values.push_back({{"run_seed", value.run_seed}, {"sample_seed", value.sample_seed}, {"value", value.value}});
    least = std::min(value.value, least.value_or(value.value));
  }
  Json j = {{"samples", score.samples},
            {"n", score.values.size()},
            {"mean", number(score.mean)},
            {"sd", number(score.sample_deviation)},
            {"trainings", count_trainings(score)},
            {"training_sd", number(score.training_deviation)},
            {"min", number(least)},
            {"values", values}};
  if (const std::string_view mark = comparison.mark(score); !mark.empty()) j["mark"] = std::string(mark);
  if (const auto found = comparison.difference(row, score.name)) j["against_baseline"] = difference_json(*found);
  return j;
}

Json row_json(const Comparison& comparison, size_t i) {
  const Row& row = comparison.rows[i];
  const Cell& cell = comparison.cell(row);
  Json ids = Json::array(), scores = Json::object(), j = Json::object();
  for (const size_t index : row.cells) ids.push_back(comparison.ablation.results[index].id);
  for (const RowScore& score : row.scores) scores[score.name] = score_json(comparison, i, score);
  if (!cell.family.empty()) j["variant"] = cell.family;
  j["sampler"] = sampler_json(cell.pipeline.sampler);
  j["sample"] = settings_json(cell.pipeline.sample, {"batch", "seed"});
  j["cells"] = ids;
  j["failed"] = row.failed;
  j["nfe"] = number(row.nfe);
  j["seconds"] = number(row.seconds);
  j["scores"] = scores;
  return j;
}

Json real_json(const RealScores& real) {
  Json deviations = Json::object();
  for (size_t i = 0; i < real.deviations.size(); ++i) deviations[real.scores[i].name] = number(real.deviations[i]);
  return {{"samples", real.count}, {"parts", real.parts}, {"scores", scores_json(real.scores)}, {"sd", deviations}};
}

}  // namespace

std::string to_csv(const Ablation& ablation) {
  const Comparison comparison(ablation);
  std::vector<std::string> keys = sample_keys(ablation.cells.at(0));
  std::erase(keys, "seed");
  const std::vector<std::string> scores = score_columns(ablation);
  std::vector<std::string> header = {"variant", "sampler", "parameters"};
  append(header, keys);
  header.push_back("nfe");
  for (const std::string& score : scores) {
    for (const char* measure : kMeasures) header.push_back(fmt::format("{} {}", score, measure));
  }
  append(header, {"seconds", "cells", "failed"});
  std::string out = line_of(header);
  for (size_t i = 0; i < comparison.rows.size(); ++i) {
    const Row& row = comparison.rows[i];
    const Cell& cell = comparison.cell(row);
    std::vector<std::string> line = {cell.family, cell.pipeline.sampler.plugin->id(),
                                     parameters_of(cell.pipeline.sampler, "; ")};
    for (const std::string& key : keys) line.push_back(cell_text(cell, key));
    line.push_back(field(row.nfe));
    for (const std::string& score : scores) append(line, measures(comparison, i, score));
    append(line, {seconds_field(row.seconds), std::to_string(row.cells.size()), std::to_string(row.failed)});
    out += line_of(line);
  }
  return out;
}

std::string cells_to_csv(const Ablation& ablation) {
  const std::vector<std::string> keys = sample_keys(ablation.cells.at(0)), scores = score_columns(ablation);
  std::vector<std::string> header = {"variant", "run_seed", "sampler", "parameters"};
  append(header, keys);
  header.push_back("nfe");
  append(header, scores);
  append(header, {"seconds", "failure"});
  std::string out = line_of(header);
  for (size_t i = 0; i < ablation.cells.size(); ++i) {
    const Cell& cell = ablation.cells[i];
    const CellResult& result = ablation.results[i];
    const bool done = result.failure.empty();
    std::vector<std::string> line = {cell.variant, std::to_string(cell.pipeline.run.integer("seed")),
                                     cell.pipeline.sampler.plugin->id(), parameters_of(cell.pipeline.sampler, "; ")};
    for (const std::string& key : keys) line.push_back(cell_text(cell, key));
    line.push_back(done ? std::to_string(result.nfe) : "");
    for (const std::string& name : scores) {
      const Score* score = score_of(result.scores, name);
      line.push_back(score ? field(score->value) : "");
    }
    append(line, {done ? seconds_field(result.seconds) : "", result.failure});
    out += line_of(line);
  }
  return out;
}

Json to_json(const Ablation& ablation) {
  const Comparison comparison(ablation);
  Json cells = Json::array(), rows = Json::array(), real = Json::array();
  for (size_t i = 0; i < ablation.cells.size(); ++i) cells.push_back(cell_json(ablation.cells[i], ablation.results[i]));
  for (size_t i = 0; i < comparison.rows.size(); ++i) rows.push_back(row_json(comparison, i));
  for (const RealScores& r : ablation.real) real.push_back(real_json(r));
  return {{"cells", cells},
          {"rows", rows},
          {"baseline", comparison.baseline},
          {"real_images", real},
          {"reference", {{"images", ablation.reference.images}, {"bias_times_n", ablation.reference.bias_times_n}}},
          {"notes", table_notes(ablation)}};
}

}  // namespace sdpipe
