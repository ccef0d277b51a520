#include "core/evaluation/counts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/base/log.hpp"
#include "core/evaluation/scores.hpp"

namespace sdpipe {
namespace {

// The number of one cell's samples, and who gave it.
struct Given {
  int64_t count;
  Position where;
  std::string words;  // "64 samples", "64 samples, which sample.count gives"
};

bool same_place(const Position& a, const Position& b) {
  return a.source == b.source && a.line == b.line && a.column == b.column;
}

// `variant` is empty for the file's own pipeline. A variant that changes nothing has the file's number.
Given given_by_sample(const Experiment& experiment, const AblationGrid& grid, const Pipeline& pipeline,
                      const std::string& variant) {
  const Settings::Entry& own = pipeline.sample.at("count");
  const int64_t count = std::get<int64_t>(own.value);
  const bool is_files = variant.empty() || same_place(own.where, experiment.base.sample.at("count").where);
  const std::string whose = is_files || !own.is_set ? "" : fmt::format(" of variant \"{}\"", variant);
  return {count, own.is_set ? own.where : grid.where,
          fmt::format("{} samples, which sample.count{} gives", count, whose)};
}

std::vector<Given> counts_of(const Experiment& experiment, const AblationGrid& grid) {
  if (grid.count > 0) return {{grid.count, grid.count_where, fmt::format("{} samples", grid.count)}};
  if (experiment.variants.empty()) return {given_by_sample(experiment, grid, experiment.base, "")};
  std::vector<Given> all;
  std::string last;  // the seeds of one have one count
  for (const Variant& variant : experiment.variants) {
    const bool is_new = variant.family != std::exchange(last, variant.family);
    if (is_new && std::find(grid.variants.begin(), grid.variants.end(), variant.family) != grid.variants.end())
      all.push_back(given_by_sample(experiment, grid, variant.pipeline, variant.family));
  }
  return all;
}

void judge(const ScoreKind& kind, const Given& given, CountFindings& findings) {
  if (is_meaningless(kind.name, given.count)) {
    const Problem problem{
        given.where, fmt::format("table \"ablate\": \"{}\" means nothing for {}: it fits a covariance of {} features, "
                                 "which needs more samples than features; write count = {} or more, or give --force to "
                                 "have the value printed as meaningless",
                                 kind.name, given.words, kind.features, kind.advised)};
    const auto same = [&](const Problem& p) { return p.text == problem.text && same_place(p.where, problem.where); };
    auto& all = findings.meaningless;
    if (std::none_of(all.begin(), all.end(), same)) all.push_back(problem);
  } else if (given.count < kind.advised) {
    const std::string text =
        fmt::format("\"{}\" of {} samples is rough: {} or more are advised", kind.name, given.count, kind.advised);
    auto& all = findings.warnings;
    if (std::find(all.begin(), all.end(), text) == all.end()) all.push_back(text);
  }
}

}  // namespace

CountFindings judge_counts(const Experiment& experiment) {
  CountFindings findings;
  for (const AblationGrid& grid : experiment.grids) {
    for (const Given& given : counts_of(experiment, grid)) {
      for (const std::string& score : grid.scores) judge(score_kind(score), given, findings);
    }
  }
  return findings;
}

void require_enough_samples(const Experiment& experiment, bool force) {
  CountFindings findings = judge_counts(experiment);
  if (!findings.meaningless.empty() && !force)
    throw PipelineErrors(std::move(findings.meaningless), experiment.base.source);
  for (const std::string& warning : findings.warnings) log_warning(warning);
}

}  // namespace sdpipe
