// A pipeline file with variants, which are trained side by side, and ablations, which compare their samples.
//
//   [[variant]]                       the file's pipeline with these keys changed; runs/NAME/variants/paper_loss/
//   name = "paper_loss"
//   train.loss_at = "corrupted"
//   seeds = [0, 1]                    trained once a run.seed; runs/NAME/variants/paper_loss.seed-0/ and ...-1/
//
//   [[ablate]]                        every variant x sampler x value of each [sample] key is a cell
//   sampler = [{ type = "naive" }, { type = "momentum" }]
//   sample.steps = [10, 25, 50]
//   sample.seed = [0, 1, 2]           cells that differ in seeds alone are one row of the table
//   baseline = "paper_loss"           the row that the others are compared with
//   score = "frechet"
#pragma once

#include "core/config/pipeline.hpp"

namespace sdpipe {

// One training: a [[variant]], or one of its seeds.
struct Variant {
  std::string name;    // of its folder: the file's, or NAME.seed-SEED where the file gives seeds
  Pipeline pipeline;   // run.name is NAME.VARIANT
  std::string family;  // the name that the file gives: what its seeds have in common

  bool is_seeded() const { return name != family; }
};

// A key of [sample] and the values that it takes, one after the other.
struct SampleAxis {
  std::string key;
  std::vector<Setting> values;  // one at least
  Position where;               // of the values
};

// What a row of an ablation's table has in common with the one that is meant.
struct RowPattern {
  Position where;
  std::string variant;                  // a family; empty: any
  std::optional<PluginChoice> sampler;  // compared by its id and the parameters that are set; none: any
  Settings sample;                      // the keys that are given
};

struct AblationGrid {
  std::vector<std::string> variants;   // families; empty exactly where the file has no variants
  std::vector<PluginChoice> samplers;  // empty: each pipeline's own
  std::vector<SampleAxis> axes;        // by sample_schema()'s order, no `count` or `batch`; others: each pipeline's own
  std::vector<std::string> scores;     // one at least
  int64_t count = 0;                   // samples a cell; 0: each pipeline's sample.count
  std::optional<RowPattern> baseline = {};  // in one grid at most; none: the first row
  Position where = {}, count_where = {};    // of the table, and of the value of `count` where it is there
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
// sample.prior draw with the same numbers. `seeds` trains a variant once for each, with it as run.seed.
// Problems of a variant are placed at its own keys, or at its header where only the combination is wrong.
Experiment load_experiment(const std::filesystem::path& file, const std::vector<std::string>& overrides,
                           const Registry& registry);
Experiment parse_experiment(std::string_view text, const std::filesystem::path& name,
                            const std::vector<std::string>& overrides, const Registry& registry);

}  // namespace sdpipe
