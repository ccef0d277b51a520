// Random directions in the space of images, for the sliced Wasserstein distance.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "plugins/schedules/wasserstein/point_sets.hpp"

namespace sdpipe::wasserstein {

// Directions of length sqrt(d), d the elements of an image, so that the mean square of a vector's projections is, in
// expectation, the square of its norm. The same in every run: host->random has no seed here.
class Directions {
 public:
  Directions(const sdp::Call& call, const sdp::Calibration& data, int64_t count);

  // One row a direction: the projections of all images, sorted, times 1 / sqrt(images). Between two distributions on a
  // line, sorting both is the optimal coupling; so W2^2 along a direction is the squared distance of two rows.
  PointSet project(const PointSet& images) const;

 private:
  std::vector<std::vector<double>> element_;  // of the image: its weight in each direction
  size_t count_;
};

}  // namespace sdpipe::wasserstein
