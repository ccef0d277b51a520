// The resolutions of a U-Net: each level after the first halves the image.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "core/abi/plugin.hpp"

namespace sdpipe::nn {

// Does a level of this width attend? Published networks name such levels by their width in pixels.
inline bool attends_at(const std::vector<int64_t>& resolutions, int64_t pixels) {
  return std::find(resolutions.begin(), resolutions.end(), pixels) != resolutions.end();
}

// Refuses images that cannot be halved so often, by the setting `key`, one of whose `entries` stands for each level.
inline void check_halvings(const sdp::Call& call, const sdp::Shape& sample, size_t levels, const char* entries,
                           const char* key) {
  const int64_t factor = int64_t{1} << (levels - 1);
  if (sample[1] % factor == 0 && sample[2] % factor == 0) return;
  call.fail("images are " + std::to_string(sample[1]) + " x " + std::to_string(sample[2]) +
                " (height x width), but both must be divisible by " + std::to_string(factor) +
                ", halved for each of the " + std::to_string(levels) + " " + entries +
                " but the first; resize the images, or use fewer",
            key);
}

}  // namespace sdpipe::nn
