#include "core/run/import_weights.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <sstream>

#include "core/base/files.hpp"
#include "core/base/json.hpp"
#include "core/base/log.hpp"
#include "core/base/text.hpp"
#include "core/config/resolved.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/diffusion/parametrisation.hpp"
#include "core/host/services.hpp"
#include "core/run/identity.hpp"
#include "core/run/pipeline_run.hpp"
#include "core/training/diffusers_config.hpp"
#include "core/training/tensors.hpp"
#include "core/training/weight_names.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;

void refuse_existing_run(const fs::path& run) {
  const fs::path checkpoints = run / "checkpoints";
  const bool begun = fs::exists(checkpoints) && !fs::is_empty(checkpoints);
  if (!begun && !fs::exists(run / "resolved.toml")) return;
  throw UsageError(
      fmt::format("{} holds a run already; give this one another name with run.name=..., or --fresh to move the old "
                  "one aside",
                  run.string()));
}

// A diffusers folder says how its network is made, and not all of that shows in the shapes.
void require_same_network(const WeightSource& source, const Pipeline& pipeline, const SampleShape& shape) {
  if (source.config.empty()) return;
  const std::vector<std::string> differences = config_differences(source.config, pipeline.model.settings, shape);
  if (differences.empty()) return;
  throw UsageError(fmt::format(
      "{} is another network than [model] of {}; nothing was written\n  {}\n`sdpipe weights info {}` prints "
      "a table to paste",
      source.place.string(), pipeline.source, join(differences, "\n  "), source.place.string()));
}

FittedWeights fitted_to(const Pipeline& pipeline, const WeightSource& source, const SampleShape& shape) {
  const Model model = make_model(pipeline, shape);
  const std::string& id = pipeline.model.plugin->id();
  if (model.is_fitted()) throw UsageError(fmt::format("model \"{}\" is fitted to the data and takes no weights", id));
  require_same_network(source, pipeline, shape);
  return fit_weights(source, model.params(), pipeline.model.settings, tensor_options(pipeline),
                     fmt::format("model \"{}\" of {}", id, pipeline.source));
}

std::string origin_of(const WeightSource& source) {
  Json files = Json::object();
  for (const auto& [name, content] : source.contents) files[name] = sha256(as_bytes(content));
  return Json{{"place", source.place.string()}, {"what", source.describe()}, {"sha256", files}}.dump(1) + "\n";
}

// The [model] table that the weights were trained with, where they were trained by sdpipe.
std::string trained_table(Workspace& workspace, const WeightSource& source) {
  if (std::string written = source.exported_table(); !written.empty()) return written;
  if (source.kind != WeightSource::Kind::checkpoint) return "";
  try {
    return model_toml(load_pipeline(source.run / "resolved.toml", {}, workspace.registry()).model);
  } catch (const Error& e) {  // a copied checkpoint, a plugin that is not here: the weights may be right all the same
    log_warning(
        fmt::format("which [model] the weights were trained with is not known, and so not compared: {}", e.what()));
    return "";
  }
}

// Imported weights say x0_hat - x_t, and what another parametrisation needs beside them is not imported.
void require_residual(const Pipeline& pipeline) {
  const std::string name = parametrisation_of(pipeline);
  if (name == "residual") return;
  throw UsageError(
      Problem{pipeline.train->at("parametrisation").where,
              fmt::format("imported weights predict x0_hat - x_t, which train.parametrisation = \"{}\" would "
                          "take for something else; leave it at \"residual\"",
                          name)}
          .render());
}

void require_residual(const WeightSource& source) {
  if (source.kind != WeightSource::Kind::checkpoint) return;
  const fs::path file = source.place / "process.safetensors";
  const Parametrisation stored =
      Parametrisation::from(unpack_tensors(read_file(file), file.string()), source.sample, file.string());
  if (stored.name() == "residual") return;
  throw UsageError(
      fmt::format("{} was trained with train.parametrisation = \"{}\", whose numbers are not imported with the "
                  "weights; import from a "
                  "run with \"residual\"",
                  source.place.string(), stored.name()));
}

void tell(const WeightSource& source, const Pipeline& pipeline, const FittedWeights& weights) {
  const NamingScheme scheme = recognise(source.tensors);
  log_info(fmt::format("{}: {}{}", source.place.string(), source.describe(),
                       scheme.source.empty() ? "" : ", with the names of " + scheme.source));
  for (const std::string& note : weights.notes) log_info("  " + note);
  const std::string wanted = pipeline.run.text("precision") == "float64" ? "F64" : "F32";
  if (weights.dtypes != wanted) log_info(fmt::format("  {} was converted to {}", weights.dtypes, wanted));
}

// The pipeline, or each of its variants.
struct Single {
  std::string variant;  // empty: the pipeline itself
  const Pipeline* pipeline;
  FittedWeights weights;
};

std::vector<Single> singles_of(const Experiment& experiment) {
  std::vector<Single> singles;
  if (experiment.variants.empty()) singles.push_back({"", &experiment.base, {}});
  for (const Variant& v : experiment.variants) singles.push_back({v.name, &v.pipeline, {}});
  return singles;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// Not all of that shows in the shapes, but a fine-tuning may choose some of it.
void warn_of_other_settings(Workspace& workspace, const WeightSource& source, const std::vector<Single>& singles) {
  const std::vector<std::string> before = lines_of(trained_table(workspace, source));
  for (const Single& single : singles) {
    const std::vector<std::string> now = lines_of(model_toml(single.pipeline->model));
    std::vector<std::string> changed;
    std::copy_if(before.begin(), before.end(), std::back_inserter(changed),
                 [&](const std::string& line) { return std::find(now.begin(), now.end(), line) == now.end(); });
    if (!changed.empty())
      log_warning(fmt::format("{}the weights were trained with another [model]: there {}",
                              single.variant.empty() ? "" : fmt::format("variant {}: ", single.variant),
                              join(changed, ", ")));
  }
}

void write(Workspace& workspace, const Experiment& experiment, const OpenedData& data, const WeightSource& source,
           const std::vector<Single>& singles, const RunFolder& folder) {
  const std::string origin = origin_of(source);
  for (const Single& single : singles) {
    if (workspace.stop()) throw Cancelled();
    std::optional<RunFolder> inner;
    if (!single.variant.empty()) inner.emplace(variant_folder(folder.path(), single.variant));
    const RunFolder& its = inner ? *inner : folder;
    const Experiment alone{*single.pipeline, {}, inner ? std::vector<AblationGrid>() : experiment.grids};
    begin_pipeline(workspace, alone, data, its, single.weights.tensors);
    write_file(its.path() / "weights.json", origin);
  }
  if (!experiment.variants.empty()) update_file(folder.resolved_file(), to_toml(experiment));
}

// In one step. What stands there goes aside first, and comes back where nothing follows it.
void put_in_place(const fs::path& made, const fs::path& run) {
  const fs::path aside = move_run_aside(run);
  std::error_code error;
  fs::rename(made, run, error);
  if (error && !aside.empty()) fs::rename(aside, run);
  if (error) throw std::system_error(error, run.string());
  sync_folder(fs::absolute(run).parent_path());
  if (!aside.empty())
    log_info(
        fmt::format("the old {} is now {}", fs::exists(aside / "resolved.toml") ? "run" : "folder", aside.string()));
}

// Beside its place, and moved there whole: an error, a signal or a killed process must not leave some of the variants,
// whose others `sdpipe run` would begin at random.
void make_run(Workspace& workspace, const Experiment& experiment, const OpenedData& data, const WeightSource& source,
              const std::vector<Single>& singles, const fs::path& run) {
  const RunFolder folder(run.parent_path() / fmt::format(".{}.importing", run.filename().string()));
  for (const fs::directory_entry& left : fs::directory_iterator(folder.path())) {
    if (left.path().filename() != ".lock") fs::remove_all(left.path());  // by an import that was killed
  }
  try {
    write(workspace, experiment, data, source, singles, folder);
    put_in_place(folder.path(), run);
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(folder.path(), ignored);
    throw;
  }
}

}  // namespace

fs::path import_weights(Workspace& workspace, const Experiment& experiment, const WeightsImport& what) {
  const fs::path run = workspace.run_folder(experiment.base);
  if (!what.fresh) refuse_existing_run(run);
  if (fs::exists(run)) const RunFolder not_in_use(run);  // said before the work, not at its end
  std::vector<Single> singles = singles_of(experiment);
  for (const Single& single : singles) require_residual(*single.pipeline);
  const WeightSource source = open_weights(what.source, what.raw);
  require_residual(source);
  workspace.begin_computing(experiment.base);
  const auto images = std::shared_ptr<const Source>(open_source(data_options(experiment.base)));
  for (Single& single : singles) single.weights = fitted_to(*single.pipeline, source, sample_shape(images->shape()));
  tell(source, *singles.front().pipeline, singles.front().weights);
  warn_of_other_settings(workspace, source, singles);
  make_run(workspace, experiment, {images, images->content_hash()}, source, singles, run);
  return run;
}

}  // namespace sdpipe
