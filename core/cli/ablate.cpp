#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "core/base/json.hpp"
#include "core/base/log.hpp"
#include "core/cli/signals.hpp"
#include "core/cli/stages.hpp"
#include "core/cli/verbs.hpp"
#include "core/config/resolved.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/report/ablation_report.hpp"
#include "core/report/ablation_table.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t feature_seed = 0;  // the same for all runs: scores on the same data compare

// Names and contents of every file in a folder; "" where it is absent.
std::string hash_of_folder(const fs::path& folder) {
  if (!fs::exists(folder)) return "";
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file())
      files.push_back(fs::relative(entry.path(), folder).string() + " " + sha256_of_file(entry.path()));
  }
  std::sort(files.begin(), files.end());
  std::string all;
  for (const std::string& file : files) all += file + "\n";
  return sha256(as_bytes(all));
}

// The scorer, made when it is first needed: it may train a network. Its features' id is taken from the last ablation's
// file where the stored network is still the one that it had.
class Scoring {
 public:
  Scoring(Session& session, const OpenedData& data, const fs::path& run, const Json& before)
      : session_(session), data_(data), folder_(run / "features") {
    const Json& features = before.value("features", Json::object());
    const std::string files = features.value("files_sha256", "");
    if (!files.empty() && files == hash_of_folder(folder_)) id_ = features.value("id", "");
  }

  const std::string& feature_id() {
    if (id_.empty()) id_ = scorer().feature_id();
    return id_;
  }
  Json facts() { return {{"id", feature_id()}, {"files_sha256", hash_of_folder(folder_)}}; }

  const Scorer& scorer() {
    if (scorer_) return *scorer_;
    fs::create_directories(folder_);
    Progress progress("features of real images", "%", 0, 100, session_.progress());
    scorer_ = std::make_unique<Scorer>(*data_.source, folder_, feature_seed, &stop_requested(), [&](double fraction) {
      progress.update(static_cast<uint64_t>(100 * fraction));
    });
    progress.finish();
    return *scorer_;
  }

 private:
  Session& session_;
  const OpenedData& data_;
  fs::path folder_;
  std::string id_;
  std::unique_ptr<Scorer> scorer_;
};

// A variant's newest checkpoint: where it is, and what it holds by one hash.
struct Trained {
  fs::path folder;
  std::string sha256;
};

class Ablater {
 public:
  Ablater(Session& session, const Experiment& experiment, const OpenedData& data, const fs::path& run)
      : session_(session),
        experiment_(experiment),
        data_(data),
        run_(run),
        store_(run / "ablation"),
        before_(read_json(json_file())),
        scoring_(session, data, run, before_) {}

  // The whole table; `is_new` where it was not written before.
  struct Outcome {
    Ablation ablation;
    bool is_new;
  };

  Outcome execute() {
    ablation_.cells = cells_of(experiment_);
    find_checkpoints();
    for (const Cell& cell : ablation_.cells)
      ids_.push_back(cell_id(cell, checkpoints_.at(cell.variant).sha256, data_.sha256 + " " + scoring_.feature_id()));
    draw_cells();
    for (const std::string& id : ids_) ablation_.results.push_back(*store_.find(id));
    const bool is_current = before_.value("ids", Json()) == Json(ids_) && fs::exists(csv_file()) &&
                            fs::exists(report_file()) && !before_.value("real_images", Json()).is_null();
    if (is_current)
      read_real_scores();
    else
      write();
    return {std::move(ablation_), !is_current};
  }

  fs::path csv_file() const { return store_.folder() / "ablation.csv"; }
  fs::path json_file() const { return store_.folder() / "ablation.json"; }
  fs::path report_file() const { return store_.folder() / "report.html"; }

 private:
  static Json read_json(const fs::path& file) {
    Json j = fs::exists(file) ? Json::parse(read_file(file), nullptr, false) : Json::object();
    return j.is_object() ? j : Json::object();
  }

  void find_checkpoints() {
    for (const Cell& cell : ablation_.cells) {
      if (checkpoints_.count(cell.variant)) continue;
      const fs::path folder = variant_folder(run_, cell.variant);
      const auto checkpoint = newest_checkpoint(folder / "checkpoints");
      if (!checkpoint)
        throw CheckpointError(fmt::format("{} has no checkpoint yet; `sdpipe run` makes one", folder.string()));
      warn_if_unfinished(cell, *checkpoint);
      checkpoints_[cell.variant] = {checkpoint->folder, sha256_of_file(checkpoint->folder / "MANIFEST.json")};
    }
  }

  void warn_if_unfinished(const Cell& cell, const StoredCheckpoint& checkpoint) const {
    if (!cell.pipeline.train) return;
    const int64_t seen = Json::parse(checkpoint.files.at("state.json")).value("images", int64_t{0});
    const int64_t wanted = cell.pipeline.train->integer("images");
    if (seen < wanted)
      log_warning(fmt::format("{} was trained on {} of {} images only", variant_folder(run_, cell.variant).string(),
                              seen, wanted));
  }

  std::unique_ptr<OpenedModel> open(const std::string& variant) const {
    const Pipeline& pipeline = experiment_.pipeline(variant);
    session_.use(pipeline);
    const StoredCheckpoint checkpoint = read_checkpoint(checkpoints_.at(variant).folder);
    std::unique_ptr<OpenedModel> opened(new OpenedModel{make_model(pipeline, stored_shape(checkpoint)), nullptr});
    opened->trained = load_trained(pipeline, checkpoint, opened->model);
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
    hooks.cancel = &stop_requested();
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
      throw Stopped(
          fmt::format("stopped after {} of {} cells; run the same command again to go on", done, ids_.size()));
    }
  }

  std::unique_ptr<Progress> cell_progress(size_t i) const {
    const Cell& cell = ablation_.cells[i];
    std::string label = fmt::format("cell {}/{}", i + 1, ablation_.cells.size());
    for (const std::string& column : varying_columns(ablation_)) label += fmt::format(" {}", cell_text(cell, column));
    return std::make_unique<Progress>(label, "images", 0, static_cast<uint64_t>(cell.pipeline.sample.integer("count")),
                                      session_.progress());
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
      ablation_.real.push_back({count, scoring_.scorer().real_floor(count, names)});
  }

  void read_real_scores() {
    for (const Json& r : before_["real_images"]) {
      RealScores real{r.value("count", int64_t{0}), {}};
      for (const auto& [name, value] : r["scores"].items()) {
        if (value.is_number()) real.scores.push_back({name, value.get<double>(), r.value("samples", int64_t{0})});
      }
      ablation_.real.push_back(std::move(real));
    }
  }

  void write() {
    score_real_images();
    std::vector<std::vector<ByteImage>> strips;
    for (const std::string& id : ids_) strips.push_back(store_.strip(id, data_.source->shape()));
    write_file(csv_file(), to_csv(ablation_));
    write_file(report_file(), render_ablation_report({experiment_.base.run.text("name"), data_.source->describe(),
                                                      ablation_, strips, to_toml(experiment_)}));
    Json j = {{"ids", ids_}, {"features", scoring_.facts()}, {"data_sha256", data_.sha256}};
    j.update(to_json(ablation_));
    write_file(json_file(), j.dump(1) + "\n");  // last: its ids say that the rest is there
  }

  Session& session_;
  const Experiment& experiment_;
  const OpenedData& data_;
  fs::path run_;
  CellStore store_;
  Json before_;
  Scoring scoring_;
  Ablation ablation_;
  std::vector<std::string> ids_;
  std::map<std::string, Trained> checkpoints_;
};

// `run` becomes the folder: the one named, or that of the pipeline file.
Experiment load(Session& session, const AblateArguments& arguments, fs::path& run) {
  const bool is_run = fs::is_directory(arguments.place);
  const fs::path file = is_run ? arguments.place / "resolved.toml" : arguments.place;
  if (is_run && !fs::exists(file)) {
    throw CheckpointError(
        fmt::format("{} is no run's folder: it has no resolved.toml in it", arguments.place.string()));
  }
  Experiment experiment = session.load_experiment(file, arguments.overrides);
  run = is_run ? arguments.place : session.runs / experiment.base.run.text("name");
  if (!experiment.grids.empty()) return experiment;
  throw UsageError(
      fmt::format("{} has no [[ablate]], so there is nothing to compare; add one, or give it here: "
                  "'+ablate=[{{ sample.steps = [10, 50] }}]'",
                  file.string()));
}

}  // namespace

void run_ablation(Session& session, const Experiment& experiment, const OpenedData& data, const fs::path& run,
                  bool json) {
  Ablater ablater(session, experiment, data, run);
  const Ablater::Outcome outcome = ablater.execute();
  if (!outcome.is_new) log_info(fmt::format("nothing to do: {} is complete", (run / "ablation").string()));
  if (json) {
    fmt::print("{}", read_file(ablater.json_file()));
    return;
  }
  fmt::print("{}\n", aligned(text_table(outcome.ablation)));
  for (const std::string& note : table_notes(outcome.ablation)) fmt::print("{}\n", note);
  fmt::print("{}\n{}\n", ablater.csv_file().string(), ablater.report_file().string());
}

int ablate(Session& session, const AblateArguments& arguments) {
  install_stop_handlers();
  fs::path run;
  const Experiment experiment = load(session, arguments, run);
  if (!fs::exists(run)) {
    throw CheckpointError(fmt::format("{} is not there: `sdpipe run {}` trains what is compared", run.string(),
                                      arguments.place.string()));
  }
  require_same_runs(session, run, experiment, "here only [sampler], [sample], [[ablate]] and run.threads can change");
  try {
    run_ablation(session, experiment, open_data(experiment.base), run, arguments.json);
  } catch (const Cancelled&) {
    throw Stopped("stopped between two stages; run the same command again to go on");
  }
  return 0;
}

}  // namespace sdpipe
