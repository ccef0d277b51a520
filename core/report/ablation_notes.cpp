#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/base/text.hpp"
#include "core/report/ablation_table.hpp"
#include "core/report/numbers.hpp"

namespace sdpipe {
namespace {

using Notes = std::vector<std::string>;

bool any_score(const Comparison& comparison, std::optional<double> RowScore::*member) {
  return std::any_of(comparison.rows.begin(), comparison.rows.end(), [&](const Row& row) {
    return std::any_of(row.scores.begin(), row.scores.end(),
                       [&](const RowScore& s) { return (s.*member).has_value(); });
  });
}

void note_spread(const Comparison& comparison, Notes& notes) {
  if (any_score(comparison, &RowScore::sample_deviation))
    notes.emplace_back("value: mean ± standard deviation over sample seeds");
  if (any_score(comparison, &RowScore::training_deviation))
    notes.emplace_back("training ±: standard deviation over training seeds of their means");
}

// Every difference that the tables show.
template <class F>
void for_each_difference(const Comparison& comparison, F&& f) {
  for (const std::string& score : score_columns(comparison.ablation)) {
    for (size_t i = 0; i < comparison.rows.size(); ++i) {
      if (const auto found = comparison.difference(i, score)) f(comparison.rows[i], score, *found);
    }
  }
}

void note_differences(const Comparison& comparison, Notes& notes) {
  std::set<std::string> quantiles;  // of paired differences: Welch's degrees of freedom differ row by row
  bool is_judged = false, is_unpaired = false, has_neither = false, lacks_samplings = false, lacks_trainings = false;
  const Row& baseline = comparison.rows[comparison.baseline];
  for_each_difference(comparison, [&](const Row& row, const std::string& score, const RowDifference& found) {
    const Difference& difference = found.difference;
    const bool of_trainings = row.run_seeds > 1 || baseline.run_seeds > 1;
    lacks_trainings |= !difference.standard_error && of_trainings;
    lacks_samplings |= !difference.standard_error && !of_trainings;
    has_neither |= score_kind(score).better == Better::neither;
    is_unpaired |= !difference.is_paired && difference.standard_error;
    is_judged |= found.verdict != Verdict::unjudged;
    if (found.verdict != Verdict::unjudged && difference.is_paired)
      quantiles.insert(fmt::format("{:.2f} standard errors for {:.0f} pairs",
                                   student_t95(difference.degrees_of_freedom), difference.degrees_of_freedom + 1));
  });
  if (is_judged) {
    const std::string beyond = join({quantiles.begin(), quantiles.end()});
    notes.push_back(
        fmt::format("against: mean difference ± standard error, paired by seed; better or worse at 95 % by "
                    "Student's t{}{}",
                    beyond.empty() ? "" : ", beyond ", beyond));
  }
  if (is_unpaired)
    notes.emplace_back("unpaired: the two rows do not share seeds and prior, so they are judged by Welch's t");
  if (lacks_samplings)
    notes.emplace_back(
        "a difference without ± is of 1 sample seed: its error is not known, and it is not judged; "
        "sample.seed = [0, 1, 2] gives one");
  if (lacks_trainings)
    notes.emplace_back(
        "a difference without ± has 1 training seed on one side and several on the other: its error is "
        "not known, and it is not judged; seeds = [0, 1, 2] of both variants gives one");
  if (has_neither) notes.emplace_back("nearest_neighbour is not judged: far below the floor are copies");
}

void note_bias(const Comparison& comparison, Notes& notes) {
  std::set<int64_t> counts;
  for_each_difference(comparison, [&](const Row& row, const std::string& score, const RowDifference& found) {
    if (found.is_within_bias) counts.insert(score_of(row, score)->samples);
  });
  for (const int64_t count : counts)
    notes.push_back(
        fmt::format("*: less than a quarter of {:.2g}, the bias of frechet for {} samples, which depends on "
                    "the model too",
                    comparison.ablation.reference.bias(count), grouped(static_cast<uint64_t>(count))));
}

void add_once(Notes& words, const std::string& word) {
  if (std::find(words.begin(), words.end(), word) == words.end()) words.push_back(word);
}

// Which of several variants were trained with one seed.
void note_trainings(const Comparison& comparison, Notes& notes) {
  std::vector<std::string> variants, once;
  for (const Row& row : comparison.rows) {
    add_once(variants, comparison.cell(row).family);
    if (row.run_seeds == 1) add_once(once, comparison.cell(row).family);
  }
  if (variants.size() < 2 || once.empty()) return;
  notes.push_back(fmt::format("1 training seed{}: differences between variants may be those of training",
                              once.size() < variants.size() ? " of " + join(once) : ""));
}

// Precision and recall compare as many real images as samples, where there are so many.
void note_reference(const Comparison& comparison, Notes& notes) {
  const int64_t images = comparison.ablation.reference.images;
  for (const std::string& name : score_columns(comparison.ablation)) {
    const bool is_unequal = std::any_of(comparison.rows.begin(), comparison.rows.end(), [&](const Row& row) {
      const RowScore* score = score_of(row, name);
      return score && score->samples > images;
    });
    if (score_kind(name).better == Better::more && images > 0 && is_unequal)
      notes.push_back(fmt::format("{}: more samples than the {} of the reference; with equal numbers it would differ",
                                  short_name(name), counted(static_cast<uint64_t>(images), "real image")));
  }
}

void note_failures(const Ablation& ablation, Notes& notes) {
  const std::vector<std::string> varying = varying_columns(ablation);
  for (size_t i = 0; i < ablation.cells.size(); ++i) {
    if (ablation.results[i].failure.empty()) continue;
    std::vector<std::string> words;
    for (const std::string& column : varying) words.push_back(cell_text(ablation.cells[i], column));
    notes.push_back(fmt::format("failed: {}: {}", join(words), ablation.results[i].failure));
  }
}

}  // namespace

std::vector<std::string> table_notes(const Ablation& ablation) {
  const Comparison comparison(ablation);
  Notes notes;
  note_spread(comparison, notes);
  note_differences(comparison, notes);
  note_bias(comparison, notes);
  note_trainings(comparison, notes);
  note_reference(comparison, notes);
  notes.insert(notes.end(), ablation.idle.begin(), ablation.idle.end());
  note_failures(ablation, notes);
  return notes;
}

}  // namespace sdpipe
