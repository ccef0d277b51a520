#include "core/run/ablation_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

#include "core/base/json.hpp"
#include "core/base/log.hpp"
#include "core/config/resolved.hpp"
#include "core/config/warnings.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/evaluation/counts.hpp"
#include "core/report/ablation_report.hpp"
#include "core/report/ablation_table.hpp"
#include "core/run/identity.hpp"
#include "core/run/manifest.hpp"
#include "core/run/scoring.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;

// What the last ablation left in ablation.json; null and empty where there was none.
struct Before {
  Json table;
  std::string feature_id;
  std::vector<RealScores> real;
  Reference reference;

  Json at(const char* key) const { return table.is_null() ? Json() : table.at(key); }
};

RealScores real_scores_of(const Json& j) {
  RealScores real{j.at("samples").get<int64_t>(), {}, j.at("parts").get<int64_t>()};
  for (const auto& [name, value] : j.at("scores").items()) {
    if (!value.is_number()) continue;
    real.scores.push_back({name, value.get<double>(), real.count});
    if (j.at("sd").contains(name)) real.deviations.push_back(j.at("sd").at(name).get<double>());
  }
  return real;
}

Before before_of(Json table) {
  Before before{std::move(table), "", {}, {}};
  before.feature_id = before.table.at("features").value("id", "");
  for (const char* key : {"ids", "cells", "real_images"}) before.table.at(key);
  // A table of a version without rows is written anew.
  if (!before.table.contains("rows")) return before;
  for (const Json& real : before.table.at("real_images")) before.real.push_back(real_scores_of(real));
  const Json& reference = before.table.at("reference");
  before.reference = {reference.at("images").get<int64_t>(), reference.at("bias_times_n").get<double>()};
  return before;
}

Before read_before(const fs::path& file) {
  if (!fs::exists(file)) return {};
  try {
    return before_of(Json::parse(read_file(file)));
  } catch (const JsonError&) {
    throw CheckpointError(fmt::format("{} is damaged: delete it, and it is written again", file.string()));
  }
}

// A variant's newest checkpoint: where it is, and what it holds by one hash.
struct Trained {
  fs::path folder;
  std::string sha256;
};

void warn_if_unfinished(const fs::path& folder, const Pipeline& pipeline, const StoredCheckpoint& checkpoint) {
  if (!pipeline.train) return;
  const int64_t seen = Json::parse(checkpoint.files.at("state.json")).value("images", int64_t{0});
  const int64_t wanted = pipeline.train->integer("images");
  if (seen < wanted) log_warning(fmt::format("{} was trained on {} of {} images only", folder.string(), seen, wanted));
}

// Of every variant that has cells.
std::map<std::string, Trained> find_checkpoints(const std::vector<Cell>& cells, const OpenedData& data,
                                                const fs::path& run) {
  std::map<std::string, Trained> found;
  for (const Cell& cell : cells) {
    if (found.count(cell.variant)) continue;
    const fs::path folder = variant_folder(run, cell.variant);
    const StoredCheckpoint checkpoint = checkpoint_of_run(folder, Use::sampling);
    require_same_data(folder, data);
    warn_if_unfinished(folder, cell.pipeline, checkpoint);
    found[cell.variant] = {checkpoint.folder, sha256_of_file(checkpoint.folder / "MANIFEST.json")};
  }
  return found;
}

class Ablater {
 public:
  Ablater(Workspace& workspace, const Experiment& experiment, const OpenedData& data, const fs::path& run)
      : workspace_(workspace),
        experiment_(experiment),
        data_(data),
        ablation_(begun(experiment)),
        checkpoints_(find_checkpoints(ablation_.cells, data, run)),  // before anything is written
        store_(run / "ablation"),
        before_(read_before(json_file())),
        scoring_(workspace, data, experiment.base.data.flag("flip"), run / "features", before_.feature_id,
                 before_.at("features")) {}

  AblationRun execute() {
    for (const Cell& cell : ablation_.cells)
      ids_.push_back(cell_id(cell, checkpoints_.at(cell.variant).sha256, data_.sha256 + " " + scoring_.feature_id()));
    draw_cells();
    for (const std::string& id : ids_) ablation_.results.push_back(*store_.find(id));
    // The real images' scores serve as long as the cells are the same.
    const bool has_real = !before_.real.empty() && before_.at("ids") == Json(ids_);
    if (has_real) {
      ablation_.real = before_.real;
      ablation_.reference = before_.reference;
    } else {
      score_real_images();
    }
    const bool is_written = has_real && is_current();
    if (!is_written) write();
    return {std::move(ablation_), !is_written, csv_file(), json_file(), report_file()};
  }

 private:
  fs::path csv_file() const { return store_.folder() / "ablation.csv"; }
  fs::path cells_file() const { return store_.folder() / "cells.csv"; }
  fs::path json_file() const { return store_.folder() / "ablation.json"; }
  fs::path report_file() const { return store_.folder() / "report.html"; }

  static Ablation begun(const Experiment& experiment) {
    Ablation ablation{cells_of(experiment), {}, {}};
    ablation.baseline = baseline_of(experiment);
    ablation.idle = idle_settings(experiment);
    return ablation;
  }

  // The files say what the table is: cells may have been drawn again since, in this run or one that was stopped, and
  // another row may be the baseline.
  bool is_current() const {
    const Json now = to_json(ablation_);
    bool is_same = true;
    for (const auto& [key, value] : now.items())
      is_same = is_same && before_.table.contains(key) && before_.table.at(key) == value;
    return is_same && fs::exists(csv_file()) && fs::exists(cells_file()) && fs::exists(report_file());
  }

  std::unique_ptr<OpenedModel> open(const std::string& variant) const {
    const Pipeline& pipeline = experiment_.pipeline(variant);
    workspace_.use(pipeline);
    StoredCheckpoint checkpoint = read_checkpoint(checkpoints_.at(variant).folder, Use::sampling);
    std::unique_ptr<OpenedModel> opened(new OpenedModel{make_model(pipeline, stored_shape(checkpoint)), nullptr});
    opened->trained = load_trained(pipeline, std::move(checkpoint), opened->model);
    return opened;
  }

  void draw_cells() {
    std::unique_ptr<Progress> progress;
    size_t shown = ablation_.cells.size();
    CellHooks hooks;
    hooks.open = [&](const std::string& variant) { return open(variant); };
    hooks.score = [&](const std::vector<ByteImage>& images, const std::vector<std::string>& names) {
      if (progress) progress->finish();
      progress.reset();
      return scoring_.scorer().score(images, names);
    };
    hooks.cancel = &workspace_.stop();
    hooks.progress = [&](size_t i, int64_t done) {
      if (!progress || shown != i) progress = cell_progress(i);
      shown = i;
      progress->update(static_cast<uint64_t>(done));
    };
    try {
      run_cells(ablation_.cells, ids_, store_, hooks);
    } catch (const Cancelled&) {
      progress.reset();
      const auto done = std::count_if(ids_.begin(), ids_.end(), [&](const auto& id) { return store_.find(id); });
      throw Stopped(fmt::format("stopped after {} of {} cell{}; run the same command again to go on", done, ids_.size(),
                                ids_.size() == 1 ? "" : "s"));
    }
  }

  std::unique_ptr<Progress> cell_progress(size_t i) const {
    const Cell& cell = ablation_.cells[i];
    std::string label = fmt::format("cell {}/{}", i + 1, ablation_.cells.size());
    for (const std::string& column : varying_columns(ablation_)) label += fmt::format(" {}", cell_text(cell, column));
    return std::make_unique<Progress>(label, "images", 0, static_cast<uint64_t>(cell.pipeline.sample.integer("count")),
                                      workspace_.progress());
  }

  // For each number of samples, with every score that is asked of so many.
  void score_real_images() {
    std::map<int64_t, std::vector<std::string>> wanted;
    for (const Cell& cell : ablation_.cells) {
      auto& names = wanted[cell.pipeline.sample.integer("count")];
      for (const std::string& name : cell.scores) {
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
      }
    }
    for (const auto& [count, names] : wanted)
      add_real_scores(scoring_.scorer().real_floor(count, names, &workspace_.stop()));
    ablation_.reference = scoring_.scorer().reference();
  }

  // There may be fewer images than were asked for, and so the same scores for several numbers.
  void add_real_scores(const RealScores& scores) {
    auto& real = ablation_.real;
    if (real.empty() || real.back().count != scores.count) real.push_back({scores.count, {}, scores.parts});
    for (size_t i = 0; i < scores.scores.size(); ++i) {
      if (score_of(real.back().scores, scores.scores[i].name)) continue;
      real.back().scores.push_back(scores.scores[i]);
      if (!scores.deviations.empty()) real.back().deviations.push_back(scores.deviations[i]);
    }
  }

  void write() {
    std::vector<std::vector<ByteImage>> strips;
    for (const std::string& id : ids_) strips.push_back(store_.strip(id, data_.source->shape()));
    write_file(csv_file(), to_csv(ablation_));
    write_file(cells_file(), cells_to_csv(ablation_));
    write_file(report_file(), render_ablation_report({experiment_.base.run.text("name"), data_.source->describe(),
                                                      ablation_, strips, to_toml(experiment_)}));
    Json j = {{"ids", ids_}, {"features", scoring_.facts()}, {"data_sha256", data_.sha256}};
    j.update(to_json(ablation_));
    write_file(json_file(), j.dump(1) + "\n");  // last: its ids say that the rest is there
  }

  Workspace& workspace_;
  const Experiment& experiment_;
  const OpenedData& data_;
  Ablation ablation_;
  std::map<std::string, Trained> checkpoints_;
  CellStore store_;
  Before before_;
  Scoring scoring_;
  std::vector<std::string> ids_;
};

// `run` becomes the folder: the one named, or that of the pipeline file.
Experiment load(Workspace& workspace, const fs::path& place, const std::vector<std::string>& overrides, fs::path& run) {
  const bool is_run = fs::is_directory(place);
  const fs::path file = is_run ? place / "resolved.toml" : place;
  if (is_run && !fs::exists(file))
    throw CheckpointError(fmt::format("{} is no run's folder: it has no resolved.toml in it", place.string()));
  Experiment experiment = workspace.load_experiment(file, overrides);
  run = is_run ? place : workspace.run_folder(experiment.base);
  if (!experiment.grids.empty()) return experiment;
  throw UsageError(
      fmt::format("{} has no [[ablate]], so there is nothing to compare; add one, or give it here: "
                  "'+ablate=[{{ sample.steps = [10, 50] }}]'",
                  file.string()));
}

}  // namespace

void require_comparable(const Experiment& experiment, bool force) {
  if (experiment.grids.empty()) return;
  require_enough_samples(experiment, force);
  baseline_row(cells_of(experiment), baseline_of(experiment), experiment.base.source);
}

AblationRun run_ablation(Workspace& workspace, const Experiment& experiment, const OpenedData& data,
                         const fs::path& run) {
  AblationRun done = Ablater(workspace, experiment, data, run).execute();
  if (!done.is_new) log_info(fmt::format("nothing to do: {} is complete", (run / "ablation").string()));
  return done;
}

AblationRun ablate_trained(Workspace& workspace, const fs::path& place, const std::vector<std::string>& overrides,
                           bool force) {
  fs::path run;
  const Experiment experiment = load(workspace, place, overrides, run);
  require_comparable(experiment, force);
  if (!fs::exists(run)) {
    throw CheckpointError(
        fmt::format("{} is not there: `sdpipe run {}` trains what is compared", run.string(), place.string()));
  }
  constexpr std::string_view remedy =
      "here only [sampler], [sample], [[ablate]], run.threads and run.device can change";
  require_same_experiment(workspace, run, experiment, remedy);
  warn_of(warnings_of(experiment));
  workspace.begin_computing(experiment.base);
  try {
    return run_ablation(workspace, experiment, open_data(experiment.base), run);
  } catch (const Cancelled&) {
    throw Stopped("stopped between two stages; run the same command again to go on");
  }
}

}  // namespace sdpipe
