#include <cmath>
#include <list>

#include "plugins/schedules/wasserstein/assignment.hpp"
#include "plugins/schedules/wasserstein/corrupted_data.hpp"
#include "plugins/schedules/wasserstein/distance.hpp"

namespace sdpipe::wasserstein {
namespace {

using PointSet = std::vector<std::vector<float>>;

double squared_distance(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    sum += d * d;
  }
  return sum;
}

// Corrupted images, node by node; the sets asked for last stay in memory.
class PointSets {
 public:
  PointSets(const sdp::Call& call, const sdp::Calibration& data, std::vector<double> levels, int64_t points)
      : data_(call, data), levels_(std::move(levels)), points_(points) {}

  const PointSet& at(size_t node) {
    for (auto entry = recent_.begin(); entry != recent_.end(); ++entry) {
      if (entry->first != node) continue;
      recent_.splice(recent_.begin(), recent_, entry);
      return recent_.front().second;
    }
    PointSet set;
    data_.visit<float>(levels_[node], points_, [&](std::vector<float> x) { set.push_back(std::move(x)); });
    const size_t bytes = set.size() * set.front().size() * sizeof(float);
    recent_.emplace_front(node, std::move(set));
    while (recent_.size() > 2 && recent_.size() * bytes > memory) recent_.pop_back();
    return recent_.front().second;
  }

 private:
  static constexpr size_t memory = 256u << 20;  // bytes
  CorruptedData data_;
  std::vector<double> levels_;
  int64_t points_;
  std::list<std::pair<size_t, PointSet>> recent_;  // a list: entries stay where they are
};

class Coupled : public Estimator {
 public:
  explicit Coupled(PointSets sets) : sets_(std::move(sets)) {}
  double distance(size_t i, size_t j) override {
    const PointSet& a = sets_.at(i);
    const PointSet& b = sets_.at(j);
    double sum = 0;
    for (size_t k = 0; k < a.size(); ++k) sum += squared_distance(a[k], b[k]);
    return std::sqrt(sum / static_cast<double>(a.size()));
  }

 private:
  PointSets sets_;
};

class Exact : public Estimator {
 public:
  explicit Exact(PointSets sets) : sets_(std::move(sets)) {}
  double distance(size_t i, size_t j) override {
    const PointSet& a = sets_.at(i);
    const PointSet& b = sets_.at(j);
    std::vector<double> cost;
    cost.reserve(a.size() * b.size());
    for (const std::vector<float>& x : a) {
      for (const std::vector<float>& y : b) cost.push_back(squared_distance(x, y));
    }
    return std::sqrt(optimal_assignment(a.size(), cost));
  }

 private:
  PointSets sets_;
};

}  // namespace

std::unique_ptr<Estimator> coupled_estimator(const sdp::Call& call, const sdp::Calibration& data,
                                             std::vector<double> levels, int64_t points) {
  return std::make_unique<Coupled>(PointSets(call, data, std::move(levels), points));
}

std::unique_ptr<Estimator> exact_estimator(const sdp::Call& call, const sdp::Calibration& data,
                                           std::vector<double> levels, int64_t points) {
  return std::make_unique<Exact>(PointSets(call, data, std::move(levels), points));
}

}  // namespace sdpipe::wasserstein
