#include "core/evaluation/rows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "core/base/text.hpp"
#include "core/config/resolved.hpp"

namespace sdpipe {
namespace {

// What cells of one row have in common: everything but the seeds, and run.name, which follows from the variant.
std::string common(const Cell& cell) {
  Pipeline pipeline = cell.pipeline;
  pipeline.run.find("name")->value = std::string();
  pipeline.run.find("seed")->value = int64_t{0};
  pipeline.sample.find("seed")->value = int64_t{0};
  return fmt::format("{}\n{}\n{}", cell.family, join(cell.scores), to_toml(pipeline));
}

using ByTraining = std::map<int64_t, std::vector<double>>;  // run.seed -> a value for each sample.seed

ByTraining by_training(const std::vector<SeededValue>& values) {
  ByTraining trainings;
  for (const SeededValue& value : values) trainings[value.run_seed].push_back(value.value);
  return trainings;
}

std::vector<double> training_means(const std::vector<SeededValue>& values) {
  std::vector<double> means;
  for (const auto& [seed, of_training] : by_training(values)) means.push_back(mean_of(of_training));
  return means;
}

std::optional<double> pooled_deviation(const ByTraining& trainings) {
  double squares = 0, degrees = 0;
  for (const auto& [seed, values] : trainings) {
    const std::optional<double> deviation = deviation_of(values);
    if (!deviation) continue;
    const double its = static_cast<double>(values.size() - 1);
    squares += its * *deviation * *deviation;
    degrees += its;
  }
  return degrees > 0 ? std::optional(std::sqrt(squares / degrees)) : std::nullopt;
}

void summarise(RowScore& score) {
  std::stable_sort(score.values.begin(), score.values.end(), [](const SeededValue& a, const SeededValue& b) {
    return std::pair(a.run_seed, a.sample_seed) < std::pair(b.run_seed, b.sample_seed);
  });
  const std::vector<double> means = training_means(score.values);
  score.mean = mean_of(means);
  score.sample_deviation = pooled_deviation(by_training(score.values));
  score.training_deviation = deviation_of(means);
}

void add_result(Row& row, const Cell& cell, const CellResult& result) {
  if (!result.failure.empty()) {
    ++row.failed;
    return;
  }
  for (const Score& score : result.scores) {
    auto found =
        std::find_if(row.scores.begin(), row.scores.end(), [&](const auto& s) { return s.name == score.name; });
    if (found == row.scores.end()) found = row.scores.insert(found, {score.name, score.samples, {}, 0, {}, {}});
    if (std::isfinite(score.value)) {
      found->values.push_back({cell.pipeline.run.integer("seed"), cell.pipeline.sample.integer("seed"), score.value});
    }
  }
}

Row row_of(const Ablation& ablation, const std::vector<size_t>& cells) {
  Row row{cells, {}};
  std::vector<double> nfe, seconds;
  std::set<int64_t> run_seeds, sample_seeds;
  for (const size_t i : cells) {
    run_seeds.insert(ablation.cells[i].pipeline.run.integer("seed"));
    sample_seeds.insert(ablation.cells[i].pipeline.sample.integer("seed"));
    const CellResult& result = ablation.results.at(i);
    add_result(row, ablation.cells[i], result);
    if (!result.failure.empty()) continue;
    nfe.push_back(static_cast<double>(result.nfe));
    seconds.push_back(result.seconds);
  }
  for (RowScore& score : row.scores) summarise(score);
  row.nfe = mean_of(nfe);
  row.seconds = mean_of(seconds);
  row.run_seeds = run_seeds.size();
  row.sample_seeds = sample_seeds.size();
  return row;
}

// Both rows' values for the seeds that they share, in one order.
struct Shared {
  std::vector<SeededValue> a, b;
};

Shared shared_seeds(const RowScore& a, const RowScore& b) {
  Shared shared;
  for (const SeededValue& x : a.values) {
    const auto y = std::find_if(b.values.begin(), b.values.end(), [&](const SeededValue& v) {
      return v.run_seed == x.run_seed && v.sample_seed == x.sample_seed;
    });
    if (y == b.values.end()) continue;
    shared.a.push_back(x);
    shared.b.push_back(*y);
  }
  return shared;
}

// What counts as one trial: a training where there are several of them.
std::vector<double> trials(const std::vector<SeededValue>& values, bool of_trainings) {
  if (of_trainings) return training_means(values);
  std::vector<double> all;
  for (const SeededValue& value : values) all.push_back(value.value);
  return all;
}

Difference difference_of(const RowScore& a, const RowScore& b, bool same_prior) {
  const bool of_trainings = count_trainings(a) > 1 || count_trainings(b) > 1;
  const std::vector<double> all_a = trials(a.values, of_trainings), all_b = trials(b.values, of_trainings);
  if (same_prior) {
    const Shared shared = shared_seeds(a, b);
    const std::vector<double> x = trials(shared.a, of_trainings), y = trials(shared.b, of_trainings);
    // A lone pair tells nothing of its error; more values without pairs may.
    const bool is_all = x.size() == all_a.size() && x.size() == all_b.size();
    if (x.size() > 1 || (!x.empty() && is_all)) return paired_difference(x, y);
  }
  return welch_difference(all_a, all_b);
}

Verdict verdict_of(const Difference& difference, Better better) {
  if (!difference.standard_error || better == Better::neither) return Verdict::unjudged;
  if (!difference.is_told_apart()) return Verdict::not_told_apart;
  return (difference.mean < 0) == (better == Better::less) ? Verdict::better : Verdict::worse;
}

bool agrees(const Settings& given, const Settings& settings) {
  return std::all_of(given.entries().begin(), given.entries().end(), [&](const Settings::Entry& entry) {
    const Settings::Entry* own = settings.find(entry.key);
    return !entry.is_set || (own && own->value == entry.value);
  });
}

bool agrees(const RowPattern& pattern, const Cell& cell) {
  const PluginChoice& sampler = cell.pipeline.sampler;
  if (!pattern.variant.empty() && pattern.variant != cell.family) return false;
  if (pattern.sampler && pattern.sampler->plugin->id() != sampler.plugin->id()) return false;
  if (pattern.sampler && !agrees(pattern.sampler->settings, sampler.settings)) return false;
  return agrees(pattern.sample, cell.pipeline.sample);
}

}  // namespace

std::vector<std::vector<size_t>> cells_by_row(const std::vector<Cell>& cells) {
  std::vector<std::vector<size_t>> rows;
  std::map<std::string, size_t> known;
  for (size_t i = 0; i < cells.size(); ++i) {
    const auto [row, is_new] = known.try_emplace(common(cells[i]), rows.size());
    if (is_new) rows.emplace_back();
    rows[row->second].push_back(i);
  }
  return rows;
}

std::vector<Row> rows_of(const Ablation& ablation) {
  std::vector<Row> rows;
  for (const std::vector<size_t>& cells : cells_by_row(ablation.cells)) rows.push_back(row_of(ablation, cells));
  return rows;
}

const RowScore* score_of(const Row& row, std::string_view name) {
  const auto found = std::find_if(row.scores.begin(), row.scores.end(), [&](const auto& s) { return s.name == name; });
  return found == row.scores.end() ? nullptr : &*found;
}

const Score* score_of(const std::vector<Score>& scores, std::string_view name) {
  const auto found = std::find_if(scores.begin(), scores.end(), [&](const Score& s) { return s.name == name; });
  return found == scores.end() ? nullptr : &*found;
}

size_t count_trainings(const RowScore& score) { return by_training(score.values).size(); }

size_t count_samplings(const RowScore& score) {
  size_t most = 0;
  for (const auto& [seed, values] : by_training(score.values)) most = std::max(most, values.size());
  return most;
}

std::optional<RowPattern> baseline_of(const Experiment& experiment) {
  for (const AblationGrid& grid : experiment.grids) {
    if (grid.baseline) return grid.baseline;
  }
  return std::nullopt;
}

size_t baseline_row(const std::vector<Cell>& cells, const std::optional<RowPattern>& pattern, const std::string& file) {
  if (!pattern) return 0;
  const std::vector<std::vector<size_t>> rows = cells_by_row(cells);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (agrees(*pattern, cells[rows[i][0]])) return i;
  }
  throw PipelineErrors({{pattern->where,
                         "table \"ablate\": \"baseline\" agrees with no row of the table: give it values "
                         "that this [[ablate]] combines, or leave it out for the first row"}},
                       file);
}

std::string_view to_text(Verdict verdict) {
  switch (verdict) {
    case Verdict::better:
      return "better";
    case Verdict::worse:
      return "worse";
    case Verdict::not_told_apart:
      return "not told apart";
    case Verdict::unjudged:
      break;
  }
  return "";
}

Comparison::Comparison(const Ablation& ablation)
    : ablation(ablation),
      rows(rows_of(ablation)),
      baseline(baseline_row(ablation.cells, ablation.baseline, "the ablation")) {}

std::optional<RowDifference> Comparison::difference(size_t row, std::string_view score) const {
  const RowScore* a = score_of(rows.at(row), score);
  const RowScore* b = score_of(rows[baseline], score);
  if (row == baseline || !a || !b || a->values.empty() || b->values.empty()) return std::nullopt;
  if (a->samples != b->samples || is_meaningless(score, a->samples)) return std::nullopt;
  const auto prior = [&](const Row& r) { return cell(r).pipeline.sample.text("prior"); };
  const Difference difference = difference_of(*a, *b, prior(rows[row]) == prior(rows[baseline]));
  const bool has_bias = score_kind(score).features > 0 && ablation.reference.images > 0;
  return RowDifference{difference, verdict_of(difference, score_kind(score).better),
                       has_bias && std::abs(difference.mean) < ablation.reference.bias(a->samples) / 4};
}

std::string_view Comparison::mark(const RowScore& score) const {
  if (is_meaningless(score.name, score.samples)) return "meaningless";
  if (score_kind(score.name).features == 0) return "";
  const bool at_floor = std::any_of(ablation.real.begin(), ablation.real.end(), [&](const RealScores& real) {
    const Score* floor = score_of(real.scores, score.name);
    return floor && real.count == score.samples &&
           score.mean < floor->value + 2 * deviation_of(real, score.name).value_or(0);
  });
  return at_floor ? "at the floor" : "";
}

std::optional<double> deviation_of(const RealScores& real, std::string_view score) {
  for (size_t i = 0; i < real.deviations.size(); ++i) {
    if (real.scores[i].name == score) return real.deviations[i];
  }
  return std::nullopt;
}

}  // namespace sdpipe
