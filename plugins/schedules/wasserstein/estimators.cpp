#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "plugins/schedules/wasserstein/assignment.hpp"
#include "plugins/schedules/wasserstein/directions.hpp"
#include "plugins/schedules/wasserstein/distance.hpp"
#include "plugins/schedules/wasserstein/levels.hpp"
#include "plugins/schedules/wasserstein/point_sets.hpp"
#include "plugins/schedules/wasserstein/sinkhorn.hpp"

namespace sdpipe::wasserstein {
namespace {

// The mean over rows: images coupled with themselves, or directions whose projections are sorted.
class RowByRow : public Estimator {
 public:
  explicit RowByRow(PointSets sets) : sets_(std::move(sets)) {}
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
    return std::sqrt(optimal_assignment(a.size(), squared_distances(a, sets_.at(j))));
  }

 private:
  PointSets sets_;
};

class Sinkhorn : public Estimator {
 public:
  Sinkhorn(const sdp::Call& call, PointSets sets, double regularisation, int64_t iterations)
      : call_(call), sets_(std::move(sets)), iterations_(iterations), self_(sets_.nodes(), std::nan("")) {
    const std::vector<double> costs = squared_distances(sets_.at(0), sets_.at(sets_.nodes() - 1));
    epsilon_ = regularisation * std::accumulate(costs.begin(), costs.end(), 0.0) / static_cast<double>(costs.size());
    if (!(epsilon_ > 0))
      call.fail("clean and fully corrupted images are all the same: there is no scale for regularisation", "estimator");
  }

  double distance(size_t i, size_t j) override {
    return std::sqrt(std::max(0.0, entropic(i, j) - (self(i) + self(j)) / 2));
  }
  bool is_metric() const override { return false; }

 private:
  double self(size_t i) {
    if (std::isnan(self_[i])) self_[i] = entropic(i, i);
    return self_[i];
  }

  double entropic(size_t i, size_t j) {
    const PointSet& a = sets_.at(i);
    const EntropicCost result = sinkhorn(a.size(), squared_distances(a, sets_.at(j)), epsilon_, iterations_);
    if (!(result.marginal_error < sinkhorn_tolerance)) {
      call_.fail("sinkhorn has not converged between the levels " + text(sets_.level(i)) + " and " +
                     text(sets_.level(j)) + ": after " + std::to_string(iterations_) +
                     " iterations a marginal is off by " + text(result.marginal_error) + ", not by less than " +
                     text(sinkhorn_tolerance) + "; raise regularisation or iterations",
                 "regularisation");
    }
    return result.cost;
  }

  const sdp::Call& call_;
  PointSets sets_;
  int64_t iterations_;
  std::vector<double> self_;  // OT(q_i, q_i); NaN: not asked for yet
  double epsilon_ = 0;
};

}  // namespace

std::unique_ptr<Estimator> coupled_estimator(const sdp::Call& call, const sdp::Calibration& data,
                                             std::vector<double> levels, int64_t points) {
  return std::make_unique<RowByRow>(PointSets(call, data, std::move(levels), points));
}

std::unique_ptr<Estimator> exact_estimator(const sdp::Call& call, const sdp::Calibration& data,
                                           std::vector<double> levels, int64_t points) {
  return std::make_unique<Exact>(PointSets(call, data, std::move(levels), points));
}

std::unique_ptr<Estimator> sliced_estimator(const sdp::Call& call, const sdp::Calibration& data,
                                            std::vector<double> levels, int64_t points, int64_t directions) {
  return std::make_unique<RowByRow>(PointSets(
      call, data, std::move(levels), points,
      [drawn = Directions(call, data, directions)](const PointSet& images) { return drawn.project(images); }));
}

std::unique_ptr<Estimator> sinkhorn_estimator(const sdp::Call& call, const sdp::Calibration& data,
                                              std::vector<double> levels, int64_t points, double regularisation,
                                              int64_t iterations) {
  return std::make_unique<Sinkhorn>(call, PointSets(call, data, std::move(levels), points), regularisation, iterations);
}

}  // namespace sdpipe::wasserstein
