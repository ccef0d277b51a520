#include <algorithm>
#include <cmath>
#include <limits>

#include "plugins/dct/dct.hpp"
#include "plugins/schedules/wasserstein/corrupted_data.hpp"
#include "plugins/schedules/wasserstein/distance.hpp"

namespace sdpipe::wasserstein {
namespace {

struct Moments {
  std::vector<double> mean, deviation;  // of every DCT coefficient
};

class Gaussian : public Estimator {
 public:
  Gaussian(const sdp::Call& call, const sdp::Calibration& data, std::vector<double> levels)
      : data_(call, data), levels_(std::move(levels)), moments_(levels_.size()) {}

  double distance(size_t i, size_t j) override {
    const Moments& a = moments(i);
    const Moments& b = moments(j);
    double sum = 0;
    for (size_t k = 0; k < a.mean.size(); ++k) {
      const double mean = a.mean[k] - b.mean[k], deviation = a.deviation[k] - b.deviation[k];
      sum += mean * mean + deviation * deviation;
    }
    return std::sqrt(sum);
  }

 private:
  const Moments& moments(size_t i) {
    if (moments_[i].mean.empty()) moments_[i] = measure(levels_[i]);
    return moments_[i];
  }

  // By Welford's update: sums of squares would lose the small variances of strongly corrupted frequencies.
  Moments measure(double level) {
    const sdp::Shape shape = data_.sample_shape();
    const int64_t height = shape[shape.size() - 2], width = shape.back();
    Dct dct(height, width);
    Moments m;
    double count = 0;
    data_.visit<double>(level, std::numeric_limits<int64_t>::max(), [&](std::vector<double> x) {
      for (size_t plane = 0; plane < x.size(); plane += static_cast<size_t>(height * width)) dct.forward(&x[plane]);
      m.mean.resize(x.size());
      m.deviation.resize(x.size());
      ++count;
      for (size_t k = 0; k < x.size(); ++k) {
        const double before = x[k] - m.mean[k];
        m.mean[k] += before / count;
        m.deviation[k] += before * (x[k] - m.mean[k]);
      }
    });
    for (double& d : m.deviation) d = std::sqrt(d / count);
    return m;
  }

  CorruptedData data_;
  std::vector<double> levels_;
  std::vector<Moments> moments_;
};

}  // namespace

std::unique_ptr<Estimator> gaussian_estimator(const sdp::Call& call, const sdp::Calibration& data,
                                              std::vector<double> levels) {
  return std::make_unique<Gaussian>(call, data, std::move(levels));
}

}  // namespace sdpipe::wasserstein
