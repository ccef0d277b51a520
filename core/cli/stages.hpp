// The work of `sdpipe run` in pieces: one pipeline, and the comparison of several.
#pragma once

#include "core/cli/session.hpp"
#include "core/data/source.hpp"
#include "core/diffusion/prior.hpp"
#include "core/training/run_folder.hpp"

namespace sdpipe {

// The images of [data], which all variants share, and their content hash.
struct OpenedData {
  std::shared_ptr<const Source> source;
  std::string sha256;
};
OpenedData open_data(const Pipeline& pipeline);

// A folder holds one pipeline's run or variants, never both. Throws UsageError with the remedy where `run` holds the
// other.
void require_same_kind(const std::filesystem::path& run, const Experiment& experiment, std::string_view remedy);

// Throws DataError where the run in `folder`, which may not be there yet, was begun with other data.
void require_same_data(const std::filesystem::path& folder, const OpenedData& data);

// Throws UsageError naming the keys, and the remedy, where the experiment's pipelines are other ones than those whose
// folders are under `run`. Folders that are not there are right.
void require_same_runs(Session& session, const std::filesystem::path& run, const Experiment& experiment,
                       std::string_view remedy);

// Trains, samples and reports, as far as that is not done; `single` has no variants, and its grids are left to
// run_ablation. Throws Stopped, or Cancelled between two stages.
void run_pipeline(Session& session, const Experiment& single, const OpenedData& data, const RunFolder& folder);

// Makes such a run with weights from elsewhere, which the model has been checked to have: at 0 images, to go on from.
void begin_pipeline(Session& session, const Experiment& single, const OpenedData& data, const RunFolder& folder,
                    const NamedTensors& weights);

// runs/NAME/variants/VARIANT; runs/NAME itself for the empty name.
std::filesystem::path variant_folder(const std::filesystem::path& run, const std::string& variant);

// Throws PipelineErrors where a score would mean nothing of so few samples, unless `force`, or where the baseline is no
// row; warns where there are few. Writes nothing.
void require_comparable(const Experiment& experiment, bool force);

// Draws and scores the cells that are not done under `run`/ablation, writes table and report there, and prints the
// table (as JSON on request). Throws CheckpointError where a variant is not trained yet, DataError where it was trained
// on other data, Stopped between two cells.
void run_ablation(Session& session, const Experiment& experiment, const OpenedData& data,
                  const std::filesystem::path& run, bool json);

}  // namespace sdpipe
