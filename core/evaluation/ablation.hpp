// Samples of trained models under many settings, each drawn and scored once: a cell.
//
// Common random numbers: cells of the same sample.seed and sample.prior, of variants of the same run.seed, have the
// same starts x_1, the same keys of the corruption and the same noise, image by image, so that what differs between
// them is what differs in their other settings. (run.seed draws the keys and the training images that priors know.)
//
// runs/NAME/ablation/
//   cells.jsonl    one line a finished or failed cell; whatever has no whole line is drawn when asked for again
//   strips/ID.png  the first images of each
#pragma once

#include <map>
#include <optional>

#include "core/config/experiment.hpp"
#include "core/evaluation/samples.hpp"
#include "core/evaluation/scores.hpp"

namespace sdpipe {

struct Cell {
  std::string variant;              // Variant::name, of one training; empty: the file's own pipeline
  Pipeline pipeline;                // with the [sampler] and [sample] of this cell; keys that do not act: defaults
  std::vector<std::string> scores;  // of score_names()
  std::string family = variant;     // Variant::family, of which trainings by other seeds are the same row
};

// Every cell of the experiment's grids, each once: by variant, then as the grids stand, samplers before [sample]'s keys
// in the order of its schema. Cells that differ in keys alone that do not act are one. Images of samplers are decoded.
// Throws DataError where one cannot be.
std::vector<Cell> cells_of(const Experiment& experiment);

// Why values that the grids or the variants set make no difference, each once: "sample.basis acts under prior =
// gaussian only".
std::vector<std::string> idle_settings(const Experiment& experiment);

// Everything that the result depends on, hashed: sdpipe's version, weights, corruption, sampler and their plugins,
// what acts of [sample], scores. (Samples depend on sample.batch where a sampler chooses its steps by batch.)
// `scored_against` names the real images and the features that the scores use.
std::string cell_id(const Cell& cell, const std::string& checkpoint_sha256, const std::string& scored_against);

struct CellResult {
  std::string id;
  int64_t nfe = 0;            // evaluations of the network an image
  double seconds = 0;         // for drawing all images, without scoring them
  std::vector<Score> scores;  // one for each of the cell's
  std::string failure;        // why there are none; empty where there are
};

class CellStore {
 public:
  // Makes the folder, locks it, drops a torn last line, and others that are damaged with a warning. Throws RunError
  // where another process has it.
  explicit CellStore(std::filesystem::path folder);
  // Null where it is not done yet.
  const CellResult* find(const std::string& id) const;
  // Keeps the result, and the first images as a strip. Throws RunError where it cannot be written.
  void add(const CellResult& result, const std::vector<ByteImage>& images);
  // The images that were kept; none for a cell that failed.
  std::vector<ByteImage> strip(const std::string& id, const ImageShape& shape) const;
  const std::filesystem::path& folder() const { return folder_; }

 private:
  void read();
  std::filesystem::path file() const { return folder_ / "cells.jsonl"; }
  std::filesystem::path strip_file(const std::string& id) const;
  std::filesystem::path folder_;
  std::unique_ptr<FileLock> lock_;
  std::map<std::string, CellResult> results_;
};

struct OpenedModel {
  Model model;
  std::unique_ptr<TrainedModel> trained;
};

struct CellHooks {
  std::function<std::unique_ptr<OpenedModel>(const std::string& variant)>
      open;  // once for each variant in turn that has cells to do
  std::function<std::vector<Score>(const std::vector<ByteImage>&, const std::vector<std::string>& names)> score;
  const std::atomic<bool>* cancel = nullptr;
  std::function<void(size_t cell, int64_t images_done)> progress;  // `cell` counts through `cells`
};

// Draws and scores what the store does not hold; ids[i] belongs to cells[i]. A cell that fails with PluginError,
// RunError or UsageError is recorded with the reason and not tried again as long as its line is there, and the rest
// goes on. Any other error ends the drawing, as Cancelled does where `cancel` became true: what is done is kept.
void run_cells(const std::vector<Cell>& cells, const std::vector<std::string>& ids, CellStore& store,
               const CellHooks& hooks);

struct Ablation {
  std::vector<Cell> cells;
  std::vector<CellResult> results;  // of each cell
  std::vector<RealScores> real;     // for each number of images
  Reference reference = {};
  std::optional<RowPattern> baseline = {};
  std::vector<std::string> idle = {};  // idle_settings
};

}  // namespace sdpipe
