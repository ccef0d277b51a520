#include "core/evaluation/ablation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <limits>
#include <optional>
#include <span>
#include <sstream>

#include "core/base/json.hpp"
#include "core/base/log.hpp"
#include "core/config/resolved.hpp"
#include "core/config/tables.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/host/services.hpp"

namespace sdpipe {

namespace fs = std::filesystem;

namespace {

constexpr size_t strip_images = 10;
constexpr int cell_format = 1;  // to be raised where sampling or scores change within a version: cells are drawn again

// Keys that do not act, at their defaults: what differs in them alone is the same.
void settle_idle_keys(Settings& sample) {
  for (const Param& param : sample_schema()) {
    if (param.def && idle_condition("sample", param.key, sample)) sample.find(param.key)->value = *param.def;
  }
}

void add_once(std::vector<std::string>& sentences, const std::string& sentence) {
  if (std::find(sentences.begin(), sentences.end(), sentence) == sentences.end()) sentences.push_back(sentence);
}

struct Collected {
  std::vector<Cell> cells;
  std::vector<std::string> idle;
};

// Adds the cells of one variant in one grid.
class GridCells {
 public:
  GridCells(const Variant& variant, const AblationGrid& grid, Collected& all)
      : variant_(variant), grid_(grid), all_(all) {}

  void add() {
    const std::vector<PluginChoice> own = {variant_.pipeline.sampler};
    for (const PluginChoice& sampler : grid_.samplers.empty() ? own : grid_.samplers) {
      Cell cell{variant_.name, variant_.pipeline, grid_.scores, variant_.family};
      cell.pipeline.sampler = sampler;
      if (grid_.count > 0) cell.pipeline.sample.find("count")->value = grid_.count;
      load_image_parameters(cell.pipeline);
      add(std::move(cell), 0);
    }
  }

 private:
  void add(Cell cell, size_t axis) {
    if (axis < grid_.axes.size()) {
      for (const Setting& value : grid_.axes[axis].values) {
        cell.pipeline.sample.find(grid_.axes[axis].key)->value = value;
        add(cell, axis + 1);
      }
      return;
    }
    note_idle_axes(cell.pipeline.sample);
    settle_idle_keys(cell.pipeline.sample);
    const auto same = [&](const Cell& other) {
      return other.variant == cell.variant && other.scores == cell.scores &&
             to_toml(other.pipeline) == to_toml(cell.pipeline);
    };
    if (std::none_of(all_.cells.begin(), all_.cells.end(), same)) all_.cells.push_back(std::move(cell));
  }

  void note_idle_axes(const Settings& sample) {
    for (const SampleAxis& axis : grid_.axes) {
      const Condition* condition = idle_condition("sample", axis.key, sample);
      if (condition && axis.values.size() > 1) add_once(all_.idle, sentence(*condition));
    }
  }

  const Variant& variant_;
  const AblationGrid& grid_;
  Collected& all_;
};

// What a variant gives [train] that does not act: its training is the one that it would be without.
void note_idle_training(const Pipeline& base, const Variant& variant, Collected& all) {
  if (!base.train || !variant.pipeline.train) return;
  for (const Settings::Entry& entry : variant.pipeline.train->entries()) {
    const Condition* condition = idle_condition("train", entry.key, *variant.pipeline.train);
    if (condition && entry.value != base.train->at(entry.key).value) add_once(all.idle, sentence(*condition));
  }
}

Collected collect(const Experiment& experiment) {
  Collected all;
  const auto add = [&](const Variant& variant) {
    for (const AblationGrid& grid : experiment.grids) {
      const auto& in = grid.variants;
      if (variant.name.empty() || std::find(in.begin(), in.end(), variant.family) != in.end())
        GridCells(variant, grid, all).add();
    }
  };
  if (experiment.variants.empty()) add({"", experiment.base, ""});
  for (const Variant& variant : experiment.variants) {
    add(variant);
    note_idle_training(experiment.base, variant, all);
  }
  return all;
}

// A plugin's file, hashed once in the life of the program: a plugin that is loaded does not change.
const std::string& hash_of(const Plugin& plugin) {
  static std::map<fs::path, std::string> known;
  const auto found = known.find(plugin.file);
  return found != known.end() ? found->second : known.emplace(plugin.file, sha256_of_file(plugin.file)).first->second;
}

Json facts_of(const PluginChoice& choice) {
  Json files = Json::array();
  for (const Settings::Entry& entry : choice.settings.entries()) {
    const auto* image = std::get_if<ImageSetting>(&entry.value);
    if (image) files.push_back(xxh3_128(std::as_bytes(std::span(image->pixels))));
  }
  for (const Param& param : choice.plugin->schema)
    if (param.type == ParamType::file) files.push_back(sha256_of_file(choice.settings.text(param.key)));
  return {inline_toml(choice), choice.from, choice.to, files, hash_of(*choice.plugin)};
}

// NaN and infinity have no form in JSON: they become null, and null becomes NaN.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

std::string to_line(const CellResult& result) {
  Json scores = Json::array();
  for (const Score& score : result.scores)
    scores.push_back({{"name", score.name}, {"value", number(score.value)}, {"samples", score.samples}});
  Json line = {{"id", result.id}, {"nfe", result.nfe}, {"seconds", result.seconds}, {"scores", scores}};
  if (!result.failure.empty()) line["failure"] = result.failure;
  return line.dump();
}

CellResult result_of(const Json& j) {
  CellResult result{j.value("id", ""), j.value("nfe", int64_t{0}), j.value("seconds", 0.0), {}, j.value("failure", "")};
  for (const Json& s : j.value("scores", Json::array())) {
    const bool is_number = s.contains("value") && s["value"].is_number();
    result.scores.push_back({s.value("name", ""),
                             is_number ? s["value"].get<double>() : std::numeric_limits<double>::quiet_NaN(),
                             s.value("samples", int64_t{0})});
  }
  return result;
}

// Nothing where the line is damaged.
std::optional<CellResult> from_line(const std::string& line) {
  try {
    return result_of(Json::parse(line));
  } catch (const JsonError&) {
    return std::nullopt;
  }
}

struct Drawn {
  CellResult result;
  std::vector<ByteImage> images;
};

Drawn draw(const Cell& cell, const OpenedModel& opened, const CellHooks& hooks,
           const std::function<void(int64_t)>& progress) {
  Drawn drawn;
  // The plugin, or settings that do not go together: other cells need not suffer, as they would from bad data.
  const auto fail = [&](const Error& e) {
    drawn.result = {"", 0, 0, {}, e.what()};
    log_warning(fmt::format("{}{}{}: {}", cell.variant, cell.variant.empty() ? "" : ", ",
                            cell.pipeline.sampler.plugin->id(), e.what()));
  };
  try {
    const auto begin = std::chrono::steady_clock::now();
    const SampleRequest request{cell.pipeline.sample.integer("count"), hooks.cancel, progress};
    SampleSet set = draw_samples(cell.pipeline, opened.model, *opened.trained, cell.pipeline.sampler, request);
    drawn.result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    drawn.result.nfe = set.nfe;
    drawn.result.scores = hooks.score(set.images, cell.scores);
    drawn.images = std::move(set.images);
  } catch (const PluginError& e) {
    fail(e);
  } catch (const RunError& e) {
    fail(e);
  } catch (const UsageError& e) {
    fail(e);
  }
  return drawn;
}

}  // namespace

std::vector<Cell> cells_of(const Experiment& experiment) { return collect(experiment).cells; }

std::vector<std::string> idle_settings(const Experiment& experiment) { return collect(experiment).idle; }

std::string cell_id(const Cell& cell, const std::string& checkpoint_sha256, const std::string& scored_against) {
  Json corruption = Json::array();
  for (const PluginChoice& choice : cell.pipeline.corruption) corruption.push_back(facts_of(choice));
  Json sample;
  for (const Settings::Entry& entry : cell.pipeline.sample.entries()) {
    // Ids held `basis` before it was known when it acts: with its default they are the same still.
    const bool is_idle = idle_condition("sample", entry.key, cell.pipeline.sample);
    if (!is_idle || entry.key == "basis") sample[entry.key] = toml_text(entry.value);
  }
  const Json facts = {{"sdpipe", {host_services().version, cell_format}},
                      {"checkpoint", checkpoint_sha256},
                      {"precision", cell.pipeline.run.text("precision")},
                      {"corruption", corruption},
                      {"model", hash_of(*cell.pipeline.model.plugin)},
                      {"sampler", facts_of(cell.pipeline.sampler)},
                      {"sample", sample},
                      {"scores", cell.scores},
                      {"against", scored_against}};
  return sha256(as_bytes(facts.dump())).substr(0, 32);
}

CellStore::CellStore(fs::path folder) : folder_(std::move(folder)) {
  fs::create_directories(folder_ / "strips");
  lock_ = std::make_unique<FileLock>(folder_ / ".lock");
  if (!lock_->held()) throw RunError(fmt::format("{} is in use by another sdpipe; wait for it", folder_.string()));
  if (fs::exists(file())) read();
}

void CellStore::read() {
  std::istringstream in(read_file(file()));
  std::string kept, line;
  int dropped = 0;
  while (std::getline(in, line) && !in.eof()) {  // a last line that is torn has no end
    if (const std::optional<CellResult> result = from_line(line)) {
      results_[result->id] = *result;
      kept += line + '\n';
    } else {
      ++dropped;
    }
  }
  if (dropped > 0) {
    log_warning(fmt::format("{} had {} damaged line{}: {} dropped, and what {} held is drawn again", file().string(),
                            dropped, dropped == 1 ? "" : "s", dropped == 1 ? "it is" : "they are",
                            dropped == 1 ? "it" : "they"));
  }
  update_file(file(), kept);
}

const CellResult* CellStore::find(const std::string& id) const {
  const auto found = results_.find(id);
  return found == results_.end() ? nullptr : &found->second;
}

fs::path CellStore::strip_file(const std::string& id) const { return folder_ / "strips" / (id + ".png"); }

void CellStore::add(const CellResult& result, const std::vector<ByteImage>& images) {
  const size_t n = std::min(strip_images, images.size());
  // Before the line, so that a line that is there has its strip.
  if (n > 0) write_png(strip_file(result.id), make_grid(std::span(images).first(n), static_cast<int64_t>(n), 0));
  std::ofstream out(file(), std::ios::app | std::ios::binary);
  out << to_line(result) << '\n';
  out.close();
  if (!out) throw RunError(fmt::format("{} cannot be written; is the disk full?", file().string()));
  results_[result.id] = result;
}

std::vector<ByteImage> CellStore::strip(const std::string& id, const ImageShape& shape) const {
  if (!fs::exists(strip_file(id))) return {};
  const ByteImage whole = to_bytes(read_image(strip_file(id), shape.channels));
  std::vector<ByteImage> images(static_cast<size_t>(whole.shape.width / shape.width));
  for (size_t i = 0; i < images.size(); ++i) {
    images[i].shape = shape;
    for (int64_t row = 0; row < shape.channels * shape.height; ++row) {
      const auto first = whole.pixels.begin() + row * whole.shape.width + static_cast<int64_t>(i) * shape.width;
      images[i].pixels.insert(images[i].pixels.end(), first, first + shape.width);
    }
  }
  return images;
}

void run_cells(const std::vector<Cell>& cells, const std::vector<std::string>& ids, CellStore& store,
               const CellHooks& hooks) {
  std::unique_ptr<OpenedModel> opened;
  std::string of_variant;
  for (size_t i = 0; i < cells.size(); ++i) {
    if (store.find(ids[i])) continue;
    if (!opened || of_variant != cells[i].variant) {
      opened.reset();  // the last variant's memory, before the next one's is taken
      opened = hooks.open(cells[i].variant);
      of_variant = cells[i].variant;
    }
    Drawn drawn = draw(cells[i], *opened, hooks, [&](int64_t done) {
      if (hooks.progress) hooks.progress(i, done);
    });
    drawn.result.id = ids[i];
    store.add(drawn.result, drawn.images);
  }
}

}  // namespace sdpipe
