// downsample: fewer pixels, shown at the old size. P replaces every block of factor x factor pixels by its mean, which
// is block average and replicate; with l = level in [0, 1],
//   C(l) = (1 - l) I + l P.
// Blocks start at the upper left corner; those at the right and lower edge may be cut, and average what they have. P is
// an orthogonal projection, so that C is symmetric and invertible for l < 1; at l = 1 one number a block is left.
// For a path through several resolutions, compose factors 2, 4, 8 with windows `from` and `to`.
//
//   [corruption]
//   type = "downsample"
//   factor = 4

#include <algorithm>
#include <numeric>
#include <vector>

#include "plugins/corruptions/image.hpp"

namespace {

class Downsample {
 public:
  int64_t factor = 4;
  double level_max() const { return 1.0; }
  void prepare(sdp::Call& call, const sdp::Shape& shape) { size_ = sdpipe::image_size(call, shape); }

  template <class T>
  void apply(sdp::Call&, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    std::vector<double> mean(size_.width);
    for (int64_t plane = 0; plane < x.size() * size_.channels; ++plane) {
      const double level = at.level[plane / size_.channels];
      for (int64_t top = 0; top < size_.height; top += factor) {
        const int64_t rows = std::min(factor, size_.height - top), first = plane * size_.pixels() + top * size_.width;
        block_means(x.data() + first, rows, mean);
        blend(level, mean, rows, x.data() + first, y.data() + first);
      }
    }
  }

  template <class T>
  void adjoint(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    apply(call, at, x, y);  // symmetric
  }

 private:
  // The mean of each block in one row of blocks, at every column.
  template <class T>
  void block_means(const T* x, int64_t rows, std::vector<double>& mean) const {
    std::copy_n(x, mean.size(), mean.begin());
    for (int64_t i = 1; i < rows; ++i) {
      for (int64_t j = 0; j < size_.width; ++j) mean[j] += static_cast<double>(x[i * size_.width + j]);
    }
    for (int64_t left = 0; left < size_.width; left += factor) {
      const auto first = mean.begin() + left, last = first + std::min(factor, size_.width - left);
      const double count = static_cast<double>(rows * (last - first));
      std::fill(first, last, std::accumulate(first, last, 0.0) / count);
    }
  }

  template <class T>
  void blend(double level, const std::vector<double>& mean, int64_t rows, const T* x, T* y) const {
    const T keep = static_cast<T>(1 - level);
    for (int64_t i = 0; i < rows; ++i, x += mean.size(), y += mean.size()) {
      for (size_t j = 0; j < mean.size(); ++j) y[j] = keep * x[j] + static_cast<T>(level * mean[j]);
    }
  }

  sdpipe::ImageSize size_;
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::corruption<Downsample>("downsample", "1.0.0", "Block average, shown at the old size")
                             .integer("factor", &Downsample::factor, sdp::between(2, 4096), "px", "Side of a block"))
