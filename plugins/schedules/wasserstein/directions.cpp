#include "plugins/schedules/wasserstein/directions.hpp"

#include <algorithm>
#include <cmath>

namespace sdpipe::wasserstein {

namespace {

// An image of normal values: in all directions alike.
std::vector<double> direction(const sdp::Call& call, uint32_t number, sdp_tensor* room) {
  call.normal(number, room);
  std::vector<double> x;
  sdp::dispatch(*room, [&](auto zero) {
    const auto* first = sdp::Batch<const decltype(zero)>(room)[0];
    x.assign(first, first + sdp::numel(*room));
  });
  double square = 0;
  for (const double v : x) square += v * v;
  for (double& v : x) v *= std::sqrt(static_cast<double>(x.size()) / square);
  return x;
}

}  // namespace

Directions::Directions(const sdp::Call& call, const sdp::Calibration& data, int64_t count)
    : count_(static_cast<size_t>(count)) {
  const sdp_tensor& like = *data.batch(0);
  sdp::Shape one(like.shape, like.shape + like.ndim);
  one[0] = 1;
  sdp_tensor* room = call.scratch(one, &like);
  element_.assign(static_cast<size_t>(sdp::numel(*room)), std::vector<double>(count_));
  for (size_t k = 0; k < count_; ++k) {
    const std::vector<double> x = direction(call, static_cast<uint32_t>(k), room);
    for (size_t p = 0; p < x.size(); ++p) element_[p][k] = x[p];
  }
}

PointSet Directions::project(const PointSet& images) const {
  PointSet rows(count_, std::vector<float>(images.size()));
  const double scale = 1 / std::sqrt(static_cast<double>(images.size()));
  std::vector<double> sum(count_);
  for (size_t b = 0; b < images.size(); ++b) {
    std::fill(sum.begin(), sum.end(), 0);
    for (size_t p = 0; p < element_.size(); ++p) {
      const double x = static_cast<double>(images[b][p]);
      for (size_t k = 0; k < count_; ++k) sum[k] += x * element_[p][k];
    }
    for (size_t k = 0; k < count_; ++k) rows[k][b] = static_cast<float>(sum[k] * scale);
  }
  for (std::vector<float>& row : rows) std::sort(row.begin(), row.end());
  return rows;
}

}  // namespace sdpipe::wasserstein
