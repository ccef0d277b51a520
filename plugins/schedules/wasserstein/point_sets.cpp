#include "plugins/schedules/wasserstein/point_sets.hpp"

#include <cmath>

namespace sdpipe::wasserstein {

double squared_distance(const std::vector<float>& a, const std::vector<float>& b) {
  constexpr size_t lanes = 8;  // independent sums, which fit into vector registers
  double sum[lanes] = {};
  size_t i = 0;
  for (; i + lanes <= a.size(); i += lanes) {
    for (size_t k = 0; k < lanes; ++k) {
      const double d = static_cast<double>(a[i + k]) - static_cast<double>(b[i + k]);
      sum[k] += d * d;
    }
  }
  for (; i < a.size(); ++i) sum[0] += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

std::vector<double> squared_distances(const PointSet& a, const PointSet& b) {
  std::vector<double> result;
  result.reserve(a.size() * b.size());
  for (const std::vector<float>& x : a) {
    for (const std::vector<float>& y : b) result.push_back(squared_distance(x, y));
  }
  return result;
}

const PointSet& PointSets::at(size_t node) {
  for (auto entry = recent_.begin(); entry != recent_.end(); ++entry) {
    if (entry->first != node) continue;
    recent_.splice(recent_.begin(), recent_, entry);
    return recent_.front().second;
  }
  PointSet set;
  data_.visit<float>(levels_[node], points_, [&](std::vector<float> x) { set.push_back(std::move(x)); });
  if (change_) set = change_(std::move(set));
  const size_t bytes = set.size() * set.front().size() * sizeof(float);
  recent_.emplace_front(node, std::move(set));
  while (recent_.size() > 2 && recent_.size() * bytes > memory) recent_.pop_back();
  return recent_.front().second;
}

}  // namespace sdpipe::wasserstein
