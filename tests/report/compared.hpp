// An ablation from the text of its tables, with scores that a test makes up.
#pragma once

#include <functional>

#include "core/report/ablation_table.hpp"
#include "tests/config/examples.hpp"

namespace sdpipe::testing {

inline Experiment experiment_of(const std::string& tables) {
  return parse_experiment(kExample + tables, "a.toml", {}, examples());
}

// `score` gives the results of a cell; as many evaluations as steps, one second.
inline Ablation compared(const std::string& tables, const std::function<std::vector<Score>(const Cell&)>& score) {
  const Experiment experiment = experiment_of(tables);
  Ablation all{cells_of(experiment), {}, {}};
  all.baseline = baseline_of(experiment);
  all.idle = idle_settings(experiment);
  for (size_t i = 0; i < all.cells.size(); ++i) {
    const int64_t steps = all.cells[i].pipeline.sample.integer("steps");
    all.results.push_back({std::to_string(i), steps, 1, score(all.cells[i]), ""});
  }
  return all;
}

// One score of `count` samples; its values cell by cell.
inline Ablation compared(const std::string& tables, const std::string& name, const std::vector<double>& values) {
  size_t next = 0;
  Ablation all = compared(tables, [&](const Cell& cell) {
    return std::vector<Score>{{name, values.at(next++), cell.pipeline.sample.integer("count")}};
  });
  if (next != values.size()) throw std::logic_error("not as many values as cells");
  return all;
}

}  // namespace sdpipe::testing
