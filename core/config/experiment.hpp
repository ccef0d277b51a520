// A pipeline file with variants, which are trained side by side, and ablations, which compare their samples.
//
//   [[variant]]                       the file's pipeline with these keys changed; runs/NAME/variants/paper_loss/
//   name = "paper_loss"
//   train.loss_at = "corrupted"
//
//   [[ablate]]                        every variant x sampler x value of each [sample] key is a cell
//   sampler = [{ type = "naive" }, { type = "momentum" }]
//   sample.steps = [10, 25, 50]
//   score = "frechet"
#pragma once

#include "core/config/pipeline.hpp"

namespace sdpipe {

struct Variant {
  std::string name;   // of its folder
  Pipeline pipeline;  // run.name is NAME.VARIANT
};

// A key of [sample] and the values that it takes, one after the other.
struct SampleAxis {
  std::string key;
  std::vector<Setting> values;  // one at least
  Position where;               // of the values
};

struct AblationGrid {
  std::vector<std::string> variants;   // names; empty exactly where the file has no variants
  std::vector<PluginChoice> samplers;  // empty: each pipeline's own
  std::vector<SampleAxis> axes;        // by sample_schema()'s order, no `count` or `batch`; others: each pipeline's own
  std::vector<std::string> scores;     // one at least
  int64_t count = 0;                   // samples a cell; 0: each pipeline's sample.count
};

struct Experiment {
  Pipeline base;  // trained where there are no variants, else what they vary
  std::vector<Variant>
      variants;  // they differ from `base` in anything but [data] and [run], where seed and threads may
  std::vector<AblationGrid> grids;

  // The variant of that name; the base where the name is empty. It must exist.
  const Pipeline& pipeline(std::string_view variant) const;
};

// As load_pipeline; overrides change the base before the variants are made. A variant is an override too: a table of a
// plugin that holds `type` replaces the base's whole, other keys are merged in, `noise = false` and `train = false`
// remove a table. Where a variant gives no sample.seed, it has the base's, so that those of the same run.seed and
// sample.prior draw with the same numbers.
// Problems of a variant are placed at its own keys, or at its header where only the combination is wrong.
Experiment load_experiment(const std::filesystem::path& file, const std::vector<std::string>& overrides,
                           const Registry& registry);
Experiment parse_experiment(std::string_view text, const std::filesystem::path& name,
                            const std::vector<std::string>& overrides, const Registry& registry);

}  // namespace sdpipe
