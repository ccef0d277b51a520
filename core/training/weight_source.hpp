// Where weights are read from: a .safetensors file, a folder of diffusers' (config.json beside one file or shards of
// one), a run or one of its checkpoints. Pickles (.pth, .pt, .ckpt, .bin) are programs, and never read.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/training/safetensors.hpp"

namespace sdpipe {

struct WeightSource {
  enum class Kind { file, diffusers, checkpoint };

  WeightSource() = default;
  WeightSource(WeightSource&&) = default;
  WeightSource& operator=(WeightSource&&) = default;
  WeightSource(const WeightSource&) = delete;  // its tensors point into `contents`
  WeightSource& operator=(const WeightSource&) = delete;

  // "a diffusers folder of 2 files", for people.
  std::string describe() const;
  // The [model] table that sdpipe wrote into a file that it exported; empty in any other.
  std::string exported_table() const;

  Kind kind = Kind::file;
  std::filesystem::path place;        // as it was named; of a run, the checkpoint
  std::filesystem::path run;          // of a checkpoint, the folder of its run, unless it was copied out of it
  std::vector<StoredTensor> tensors;  // of all files, by name
  std::map<std::string, std::string> metadata;
  std::string config;                           // config.json's text, of a diffusers folder or a file in one
  std::string state;                            // state.json's text, of a checkpoint
  std::vector<int64_t> sample;                  // (channel, height, width) of a checkpoint's images
  bool averaged = false;                        // of a checkpoint: the moving average of the weights
  std::map<std::string, std::string> contents;  // of each file that was read, by its name
};

// `raw`: of a run, the weights as trained instead of their moving average; refused where there is no choice. Throws
// UsageError where `place` is none of these, CheckpointError where it is damaged.
WeightSource open_weights(const std::filesystem::path& place, bool raw);

}  // namespace sdpipe
