#include "core/run/export_weights.hpp"

#include <fmt/format.h>

#include "core/base/files.hpp"
#include "core/base/json.hpp"
#include "core/base/log.hpp"
#include "core/config/resolved.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/run/found_run.hpp"
#include "core/training/diffusers_config.hpp"
#include "core/training/weight_names.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;

std::string exported(const WeightSource& source, const PluginChoice& model) {
  const Json state = Json::parse(source.state);
  return write_safetensors(source.tensors, {{"format", "pt"},
                                            {"sdpipe", SDPIPE_VERSION},
                                            {"weights", source.averaged ? "averaged" : "as trained"},
                                            {"images", std::to_string(state.value("images", int64_t{0}))},
                                            {"model", model_toml(model)}});
}

void check_target(const WeightsExport& what, bool folder) {
  const fs::path& target = what.output;
  if (!fs::exists(target)) return;
  if (fs::is_directory(target) && !folder)
    throw UsageError(fmt::format("{} is a folder; name a file in it, or give --format diffusers", target.string()));
  if (!fs::is_directory(target) && folder)
    throw UsageError(fmt::format("{} is a file, and --format diffusers writes a folder", target.string()));
  if (!what.force) throw UsageError(fmt::format("{} is there already; --force replaces it", target.string()));
}

// All forms in which diffusers looks for weights: one file, an index with its shards, both in half precision, pickles.
std::vector<fs::path> weights_in(const fs::path& folder) {
  std::vector<fs::path> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with("diffusion_pytorch_model") && !entry.is_directory())
      found.push_back(entry.path());
  }
  return found;
}

// config.json goes first and comes last: without it diffusers loads nothing, and so never old weights with the new
// network or the other way round. No old weights stay, because diffusers prefers an index with shards to the one file.
void write_diffusers(const WeightSource& source, const PluginChoice& model, const fs::path& folder) {
  const std::string weights = exported(source, model), config = diffusers_config(model.settings, source.sample);
  fs::create_directories(folder);
  fs::remove(folder / "config.json");
  sync_folder(folder);
  for (const fs::path& old : weights_in(folder)) fs::remove(old);
  write_file(folder / "diffusion_pytorch_model.safetensors", weights);
  write_file(folder / "config.json", config);
}

}  // namespace

void export_weights(Workspace& workspace, const WeightsExport& what) {
  if (what.format != "safetensors" && what.format != "diffusers")
    throw UsageError(fmt::format("--format must be safetensors or diffusers, not {}", what.format));
  const bool diffusers = what.format == "diffusers";
  const FoundRun found = find_run(workspace, what.run, {});
  if (const std::string name = parametrisation_of(found.pipeline); name != "residual")
    throw UsageError(fmt::format(
        "{} was trained with train.parametrisation = \"{}\": its weights do not predict x0_hat - x_t, and mean nothing "
        "without the run; sample from the run itself",
        found.folder.string(), name));
  check_target(what, diffusers);
  const WeightSource source = open_weights(what.run, what.raw);
  const PluginChoice& model = found.pipeline.model;
  if (diffusers && !recognise(source.tensors).diffusers)
    throw UsageError(fmt::format("model \"{}\" does not have the names of diffusers' networks; leave --format out",
                                 model.plugin->id()));
  if (diffusers)
    write_diffusers(source, model, what.output);
  else
    write_file(what.output, exported(source, model));
  log_info(fmt::format("{}: {}, {} tensors", source.place.string(), source.describe(), source.tensors.size()));
}

}  // namespace sdpipe
