// The first images of the calibration as points, level by level.
#pragma once

#include <cstddef>
#include <functional>
#include <list>
#include <utility>
#include <vector>

#include "plugins/schedules/wasserstein/corrupted_data.hpp"

namespace sdpipe::wasserstein {

using PointSet = std::vector<std::vector<float>>;

double squared_distance(const std::vector<float>& a, const std::vector<float>& b);
// |a_i - b_j|^2, row-major.
std::vector<double> squared_distances(const PointSet& a, const PointSet& b);

// Corrupted images, node by node; the sets asked for last stay in memory.
class PointSets {
 public:
  using Change = std::function<PointSet(PointSet images)>;
  // `change`: what is made of the images before they are kept; none: they stay as they are.
  PointSets(const sdp::Call& call, const sdp::Calibration& data, std::vector<double> levels, int64_t points,
            Change change = {})
      : data_(call, data), levels_(std::move(levels)), points_(points), change_(std::move(change)) {}

  size_t nodes() const { return levels_.size(); }
  double level(size_t node) const { return levels_[node]; }
  // Valid until the next but one call.
  const PointSet& at(size_t node);

 private:
  static constexpr size_t memory = 256u << 20;  // bytes
  CorruptedData data_;
  std::vector<double> levels_;
  int64_t points_;
  Change change_;
  std::list<std::pair<size_t, PointSet>> recent_;  // a list: entries stay where they are
};

}  // namespace sdpipe::wasserstein
