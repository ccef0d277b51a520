// Checkpoints: folders that are whole or absent, every file hashed.
//
//   checkpoints/000057600/ model ema optimizer process .safetensors, state.json, MANIFEST.json      latest -> 000057600
//
// Written to a temporary folder, synced, renamed, synced; MANIFEST.json holds SHA-256 of each file and XXH3-128 of each
// tensor. A checkpoint that does not match its manifest is refused by name, and the one before it is used, loudly.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace sdpipe {

using FileContents = std::map<std::string, std::string>;  // name -> content, without MANIFEST.json

struct StoredCheckpoint {
  std::filesystem::path folder;
  FileContents files;
};

// What a checkpoint is read for. Every file is verified either way; for sampling, the optimizer's and, beside an
// average, the raw weights are not held: three quarters of the bytes.
enum class Use { training, sampling };

// Reads and verifies one checkpoint folder. Throws CheckpointError naming the file and what is wrong with it.
StoredCheckpoint read_checkpoint(const std::filesystem::path& folder, Use use = Use::training);

// The newest in `folder` that verifies; a warning for each newer one that does not. Nothing where there is none;
// CheckpointError where there are some and all are damaged. Changes nothing: for readers beside a running training.
std::optional<StoredCheckpoint> newest_checkpoint(const std::filesystem::path& folder, Use use = Use::training);

// The same of the run in `folder`; where it has none yet, CheckpointError says so.
StoredCheckpoint checkpoint_of_run(const std::filesystem::path& folder, Use use = Use::training);

// The checkpoints of a run whose folder this process has locked.
class CheckpointStore {
 public:
  // Creates the folder, removes what an interrupted write left behind.
  explicit CheckpointStore(std::filesystem::path folder);
  // Complete, synced and found by `latest` before an older one is pruned to `keep`. Throws CheckpointError where the
  // disk refuses; then older checkpoints are untouched.
  void save(int64_t images, const FileContents& files, int64_t keep) const;
  // newest_checkpoint; damaged newer ones are renamed to NAME.damaged, so that they do not count as kept ones.
  std::optional<StoredCheckpoint> newest() const;

 private:
  std::filesystem::path folder_;
};

}  // namespace sdpipe
