#include "core/run/found_run.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/text.hpp"
#include "core/config/resolved.hpp"

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

FoundRun find_run(Workspace& workspace, const fs::path& path, const std::vector<std::string>& overrides) {
  const fs::path whole = fs::weakly_canonical(path);
  const bool is_checkpoint = fs::exists(whole / "MANIFEST.json");
  const fs::path folder = is_checkpoint ? whole.parent_path().parent_path() : whole;
  if (!fs::exists(folder / "resolved.toml")) {
    throw CheckpointError(
        fmt::format("{} is neither a run's folder (with resolved.toml in it) nor a checkpoint of one", path.string()));
  }
  refuse_variants(folder);
  const Pipeline as_trained = load_pipeline(folder / "resolved.toml", {}, workspace.registry());
  FoundRun run{folder, std::nullopt, workspace.load(folder / "resolved.toml", overrides)};
  if (const auto changed = identity_differences(as_trained, run.pipeline); !changed.empty()) {
    throw UsageError(fmt::format(
        "{} cannot be changed after training; here only [sampler], [sample], run.threads and run.device can",
        join(changed)));
  }
  if (is_checkpoint) run.checkpoint = whole;
  return run;
}

StoredCheckpoint checkpoint_of(const FoundRun& found) {
  return found.checkpoint ? read_checkpoint(*found.checkpoint, Use::sampling)
                          : checkpoint_of_run(found.folder, Use::sampling);
}

}  // namespace sdpipe
