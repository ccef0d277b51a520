#include <fmt/format.h>

#include <sstream>

#include "core/base/files.hpp"
#include "core/base/json.hpp"
#include "core/base/log.hpp"
#include "core/base/text.hpp"
#include "core/cli/signals.hpp"
#include "core/cli/stages.hpp"
#include "core/cli/verbs.hpp"
#include "core/config/resolved.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/report/numbers.hpp"
#include "core/training/diffusers_config.hpp"
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
  return fit_weights(source, model.params(), pipeline.model.settings,
                     fmt::format("model \"{}\" of {}", id, pipeline.source));
}

std::string origin_of(const WeightSource& source) {
  Json files = Json::object();
  for (const auto& [name, content] : source.contents) files[name] = sha256(as_bytes(content));
  return Json{{"place", source.place.string()}, {"what", source.describe()}, {"sha256", files}}.dump(1) + "\n";
}

std::string table_of(const PluginChoice& model) {
  std::string text = fmt::format("[model]\ntype = {}\n", toml_text(model.plugin->id()));
  for (const Settings::Entry& entry : model.settings.entries())
    text += fmt::format("{} = {}\n", entry.key, toml_text(entry.value));
  return text;
}

// The [model] table that the weights were trained with, where they were trained by sdpipe.
std::string trained_table(Session& session, const WeightSource& source) {
  const auto written = source.metadata.find("model");
  if (written != source.metadata.end()) return written->second;
  if (source.kind != WeightSource::Kind::checkpoint) return "";
  const fs::path run = source.place.parent_path().parent_path();
  return table_of(load_pipeline(run / "resolved.toml", {}, session.registry()).model);
}

// Not all of that shows in the shapes, but a fine-tuning may choose some of it.
void warn_of_other_settings(Session& session, const WeightSource& source, const PluginChoice& model) {
  std::istringstream before(trained_table(session, source));
  const std::string now = table_of(model);
  std::vector<std::string> changed;
  for (std::string line; std::getline(before, line);) {
    if (now.find(line + "\n") == std::string::npos) changed.push_back(line);
  }
  if (!changed.empty())
    log_warning(fmt::format("the weights were trained with another [model]: there {}", join(changed, ", ")));
}

void tell(const WeightSource& source, const Pipeline& pipeline, const FittedWeights& weights) {
  const NamingScheme scheme = recognise(source.tensors);
  log_info(fmt::format("{}: {}{}", source.place.string(), source.describe(),
                       scheme.source.empty() ? "" : ", with the names of " + scheme.source));
  for (const std::string& note : weights.notes) log_info("  " + note);
  const std::string wanted = pipeline.run.text("precision") == "float64" ? "F64" : "F32";
  if (weights.dtypes != wanted) log_info(fmt::format("  {} was converted to {}", weights.dtypes, wanted));
}

// The pipeline, or each of its variants, with the folder of its run.
struct Single {
  const Pipeline* pipeline;
  fs::path folder;
  FittedWeights weights;
};

std::vector<Single> singles_of(const Experiment& experiment, const fs::path& run) {
  std::vector<Single> singles;
  if (experiment.variants.empty()) singles.push_back({&experiment.base, run, {}});
  for (const Variant& v : experiment.variants) singles.push_back({&v.pipeline, variant_folder(run, v.name), {}});
  return singles;
}

void write(Session& session, const Experiment& experiment, const OpenedData& data, const WeightSource& source,
           const std::vector<Single>& singles, const fs::path& run) {
  const RunFolder folder(run);
  const std::string origin = origin_of(source);
  for (const Single& single : singles) {
    std::optional<RunFolder> inner;
    if (!experiment.variants.empty()) inner.emplace(single.folder);
    const Experiment alone{
        *single.pipeline, {}, experiment.variants.empty() ? experiment.grids : std::vector<AblationGrid>()};
    begin_pipeline(session, alone, data, inner ? *inner : folder, single.weights.tensors);
    write_file(single.folder / "weights.json", origin);
  }
  if (!experiment.variants.empty()) update_file(folder.resolved_file(), to_toml(experiment));
}

// ------------------------------------------------------------------------------------------------------------ export

std::string exported(const WeightSource& source, const PluginChoice& model) {
  const Json state = Json::parse(source.state);
  return write_safetensors(source.tensors, {{"format", "pt"},
                                            {"sdpipe", SDPIPE_VERSION},
                                            {"weights", source.averaged ? "averaged" : "as trained"},
                                            {"images", std::to_string(state.value("images", int64_t{0}))},
                                            {"model", table_of(model)}});
}

void check_target(const ExportArguments& arguments, bool folder) {
  const fs::path& target = arguments.output;
  if (!fs::exists(target)) return;
  if (fs::is_directory(target) && !folder)
    throw UsageError(fmt::format("{} is a folder; name a file in it, or give --format diffusers", target.string()));
  if (!fs::is_directory(target) && folder)
    throw UsageError(fmt::format("{} is a file, and --format diffusers writes a folder", target.string()));
  if (!arguments.force) throw UsageError(fmt::format("{} is there already; --force replaces it", target.string()));
}

// config.json last: a folder without it is none that diffusers would load.
void write_diffusers(const WeightSource& source, const PluginChoice& model, const fs::path& folder) {
  fs::create_directories(folder);
  write_file(folder / "diffusion_pytorch_model.safetensors", exported(source, model));
  write_file(folder / "config.json", diffusers_config(model.settings, source.sample));
}

}  // namespace

int weights_import(Session& session, const ImportArguments& arguments) {
  install_stop_handlers();
  const Experiment experiment = session.load_experiment(arguments.file, arguments.overrides);
  const fs::path run = session.runs / experiment.base.run.text("name");
  if (!arguments.fresh) refuse_existing_run(run);
  const WeightSource source = open_weights(arguments.source, arguments.raw);
  const auto images = std::shared_ptr<const Source>(open_source(data_options(experiment.base)));
  std::vector<Single> singles = singles_of(experiment, run);
  for (Single& single : singles) single.weights = fitted_to(*single.pipeline, source, sample_shape(images->shape()));
  const Pipeline& first = *singles.front().pipeline;
  tell(source, first, singles.front().weights);
  warn_of_other_settings(session, source, first.model);
  if (arguments.fresh) {
    if (const fs::path aside = move_run_aside(run); !aside.empty())
      log_info(fmt::format("the old run is now {}", aside.string()));
  }
  write(session, experiment, {images, images->content_hash()}, source, singles, run);
  fmt::print("{}\n", run.string());
  return 0;
}

int weights_export(Session& session, const ExportArguments& arguments) {
  if (arguments.format != "safetensors" && arguments.format != "diffusers")
    throw UsageError(fmt::format("--format must be safetensors or diffusers, not {}", arguments.format));
  const bool diffusers = arguments.format == "diffusers";
  const FoundRun found = find_run(session, arguments.run, {});
  check_target(arguments, diffusers);
  const WeightSource source = open_weights(arguments.run, arguments.raw);
  const PluginChoice& model = found.pipeline.model;
  if (diffusers && !recognise(source.tensors).diffusers)
    throw UsageError(fmt::format("model \"{}\" does not have the names of diffusers' networks; leave --format out",
                                 model.plugin->id()));
  if (diffusers)
    write_diffusers(source, model, arguments.output);
  else
    write_file(arguments.output, exported(source, model));
  log_info(fmt::format("{}: {}, {} tensors", source.place.string(), source.describe(), source.tensors.size()));
  fmt::print("{}\n", arguments.output.string());
  return 0;
}

}  // namespace sdpipe
