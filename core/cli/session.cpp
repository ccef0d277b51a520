#include "core/cli/session.hpp"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "core/base/log.hpp"
#include "core/base/text.hpp"
#include "core/config/resolved.hpp"
#include "core/diffusion/assembly.hpp"

namespace sdpipe {

namespace fs = std::filesystem;

namespace {

// A run with variants is trained in their folders.
void refuse_variants(const fs::path& folder) {
  if (!fs::exists(folder / "variants") || fs::exists(folder / "checkpoints")) return;
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder / "variants"))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  throw CheckpointError(fmt::format("{} holds variants: name the folder of one of them, {}/variants/...; there are {}",
                                    folder.string(), folder.string(), join(names)));
}

}  // namespace

const Registry& Session::registry() {
  if (!registry_) {
    registry_ = std::make_unique<Registry>(PluginSearch{plugin_files, default_plugin_folders()});
    for (const std::string& warning : registry_->warnings()) log_warning(warning);
  }
  return *registry_;
}

Experiment Session::load_experiment(const fs::path& file, const std::vector<std::string>& overrides) {
  Experiment experiment = sdpipe::load_experiment(file, overrides, registry());
  load_image_parameters(experiment.base);
  for (Variant& variant : experiment.variants) load_image_parameters(variant.pipeline);
  use(experiment.base);
  if (experiment.base.run.text("device") == "cuda") {
    throw UsageError("run.device = \"cuda\": this version trains and samples on the CPU alone; leave run.device out");
  }
  return experiment;
}

Pipeline Session::load(const fs::path& file, const std::vector<std::string>& overrides) {
  return load_experiment(file, overrides).base;
}

void Session::use(const Pipeline& pipeline) const {
  const int64_t threads = pipeline.run.integer("threads");
  // OMP_NUM_THREADS: what a job scheduler sets for the share of a machine that a job has.
  static const int at_start = at::get_num_threads();
  const int available =
      std::getenv("OMP_NUM_THREADS") ? at_start : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  at::set_num_threads(threads > 0 ? static_cast<int>(threads) : available);
}

void warn_of(const std::vector<Problem>& warnings) {
  for (const Problem& warning : warnings) log_warning(warning.render());
}

FoundRun find_run(Session& session, const fs::path& path, const std::vector<std::string>& overrides) {
  const fs::path whole = fs::weakly_canonical(path);
  const bool is_checkpoint = fs::exists(whole / "MANIFEST.json");
  const fs::path folder = is_checkpoint ? whole.parent_path().parent_path() : whole;
  if (!fs::exists(folder / "resolved.toml")) {
    throw CheckpointError(
        fmt::format("{} is neither a run's folder (with resolved.toml in it) nor a checkpoint of one", path.string()));
  }
  refuse_variants(folder);
  const Pipeline as_trained = load_pipeline(folder / "resolved.toml", {}, session.registry());
  FoundRun run{folder, std::nullopt, session.load(folder / "resolved.toml", overrides)};
  if (const auto changed = identity_differences(as_trained, run.pipeline); !changed.empty()) {
    throw UsageError(fmt::format(
        "{} cannot be changed after training; here only [sampler], [sample] and run.threads can", join(changed)));
  }
  if (is_checkpoint) run.checkpoint = whole;
  return run;
}

StoredCheckpoint checkpoint_of(const FoundRun& found) {
  return found.checkpoint ? read_checkpoint(*found.checkpoint, Use::sampling)
                          : checkpoint_of_run(found.folder, Use::sampling);
}

}  // namespace sdpipe
