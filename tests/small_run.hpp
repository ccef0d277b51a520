// A pipeline and a data set of pictures that train in seconds, and what a run leaves behind.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "core/base/files.hpp"

namespace sdpipe::testing {

namespace fs = std::filesystem;

inline const std::string small_pipeline = R"([run]
name = "tiny"
threads = 1

[data]
type = "idx"
path = "data"

[corruption]
type = "heat_blur"
std_max = 2.0

[schedule]
type = "linear"

[noise]
type = "geometric"

[model]
type = "unet"
channels = 8
multipliers = [1]
blocks = 1
groups = 4
middle_attention = false

[train]
images = 1600
batch = 8
checkpoint_every_images = 160
learning_rate = 2e-3
weight = "uniform"

[sampler]
type = "ancestral"

[sample]
steps = 4
count = 9
)";

// `count` pictures of side x side pixels as an IDX file: slopes in changing directions.
inline void write_pictures(const fs::path& folder, int count, int side) {
  fs::create_directories(folder);
  std::string content("\0\0\x08\x03\0\0", 6);
  for (const int n : {count, side, side}) {
    if (n != count) content.append(2, '\0');
    content += static_cast<char>(n >> 8);
    content += static_cast<char>(n);
  }
  for (int i = 0; i < count; ++i) {
    for (int y = 0; y < side; ++y) {
      for (int x = 0; x < side; ++x)
        content += static_cast<char>(128 + (x * (i % 7 - 3) + y * (i % 5 - 2)) * 100 / (5 * side) + i % 11);
    }
  }
  write_file(folder / "train-images-idx3-ubyte", content);
}

// Every file below `folder`, by its path from there.
inline std::map<std::string, std::string> contents(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) files[fs::relative(entry.path(), folder).string()] = read_file(entry.path());
  }
  return files;
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace sdpipe::testing
