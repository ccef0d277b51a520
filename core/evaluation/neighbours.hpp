// For every sample the training image that is nearest in pixels: how a copy is found, and shown.
#pragma once

#include <atomic>
#include <optional>
#include <span>
#include <vector>

#include "core/data/source.hpp"

namespace sdpipe {

struct Neighbour {
  int64_t index = 0;         // in the data set
  double distance = 0;       // root mean square over pixel values in [0, 1]: 1 is white against black
  bool is_mirrored = false;  // left to right that image is so near
};

// Exact: distances are computed in integers, and of equally near images the first is taken. Images that the data set
// skips are passed over. With `flip`, as of [data], every image is there mirrored left to right too, and of equally
// near ones the unmirrored is taken. `except` is empty or names one index for each of `images` that may not be taken,
// -1 for none. Memory is bounded whatever the size of the data set: some 100 MiB for each 1,000 of `images`. Throws
// std::invalid_argument for images of another shape, DataError where no image is left, Cancelled where `cancel` became
// true.
std::vector<Neighbour> nearest_training_images(const Source& source, std::span<const ByteImage> images,
                                               std::span<const int64_t> except = {},
                                               const std::atomic<bool>* cancel = nullptr, bool flip = false);

// Samples and what is nearest to them, for a report.
struct NearestTraining {
  std::vector<ByteImage> samples, training;  // the latter mirrored where that is what is near
  std::vector<Neighbour> found;
  // With the empirical prior: for how many samples the nearest image is the one that their trajectory started from.
  std::optional<int64_t> copies;
};

// `sources` as of prior_sources(); empty where trajectories start from no training image.
NearestTraining nearest_training(const Source& source, std::span<const ByteImage> samples,
                                 std::span<const int64_t> sources, const std::atomic<bool>* cancel = nullptr,
                                 bool flip = false);

}  // namespace sdpipe
