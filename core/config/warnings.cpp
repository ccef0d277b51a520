#include "core/config/warnings.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace sdpipe {
namespace {

// x0_hat is a mean, and an estimate of it need not lie in [-1, 1]. Under C_t or C_s the loss asks little or nothing
// about what the operator hides, so that values there may be any; clipping is not linear and moves what is shown by
// them.
bool leaves_a_part_free(const Pipeline& pipeline) {
  return pipeline.train && pipeline.train->text("loss_at") != "clean";
}

Problem clamp_warning(const Position& where, const Pipeline& pipeline) {
  return {where, fmt::format("sample.clamp = true with train.loss_at = \"{}\": clamp changes what the loss left free "
                             "into what the sampler uses; set sample.clamp = false",
                             pipeline.train->text("loss_at"))};
}

void add_once(std::vector<Problem>& warnings, Problem warning) {
  const auto same = [&](const Problem& other) {
    return other.where.source == warning.where.source && other.where.line == warning.where.line &&
           other.where.column == warning.where.column;
  };
  if (std::none_of(warnings.begin(), warnings.end(), same)) warnings.push_back(std::move(warning));
}

void add_own(std::vector<Problem>& warnings, const Pipeline& pipeline) {
  if (leaves_a_part_free(pipeline) && pipeline.sample.flag("clamp"))
    add_once(warnings, clamp_warning(pipeline.sample.at("clamp").where, pipeline));
}

// Of the pipelines that the cells of a grid draw from.
void add_of_grid(std::vector<Problem>& warnings, const AblationGrid& grid, const Experiment& experiment) {
  std::vector<std::string> names = grid.variants;
  if (names.empty()) names.push_back("");
  for (const SampleAxis& axis : grid.axes) {
    if (axis.key != "clamp" || !std::count(axis.values.begin(), axis.values.end(), Setting(true))) continue;
    for (const std::string& name : names) {
      const Pipeline& pipeline = experiment.pipeline(name);
      if (leaves_a_part_free(pipeline)) add_once(warnings, clamp_warning(axis.where, pipeline));
    }
  }
}

}  // namespace

std::vector<Problem> warnings_of(const Experiment& experiment) {
  std::vector<Problem> warnings;
  if (experiment.variants.empty()) add_own(warnings, experiment.base);
  for (const Variant& variant : experiment.variants) add_own(warnings, variant.pipeline);
  for (const AblationGrid& grid : experiment.grids) add_of_grid(warnings, grid, experiment);
  return warnings;
}

std::vector<Problem> warnings_of(const Pipeline& pipeline) { return warnings_of(Experiment{pipeline, {}, {}}); }

}  // namespace sdpipe
