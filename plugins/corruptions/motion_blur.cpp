// motion_blur: the mean along a straight stroke of `level` pixels centred on each pixel,
//   y_p = (1 / level) integral of x(p + s (cos a, -sin a)) ds over |s| <= level / 2,
// x between pixels being bilinear. The weights of the pixels are integrals of piecewise quadratic functions, done
// exactly: C is continuous in level, and the identity as level falls to 0. Beyond the edge the image is reflected
// without repeating the edge pixel. Singular in practice where the stroke averages a frequency away.
//
//   [corruption]
//   type = "motion_blur"
//   length_max = 15.0     # px
//   direction = "angle"   # or "key": for each sample another
//   angle = 0.0           # degrees, 0 to the right, 90 upwards

#include <utility>

#include "plugins/corruptions/convolution.hpp"

namespace {

// The weights of one stroke on a grid of pixels around its middle.
class Stroke {
 public:
  Stroke(double length, double degrees)
      : half_(length / 2), dy_(-snapped(std::sin(degrees * M_PI / 180))), dx_(snapped(std::cos(degrees * M_PI / 180))) {
    ry_ = static_cast<int64_t>(half_ * std::abs(dy_)) + 1;
    rx_ = static_cast<int64_t>(half_ * std::abs(dx_)) + 1;
    grid_.resize((2 * ry_ + 1) * (2 * rx_ + 1));
    const std::vector<double> corners = crossings();
    for (size_t i = 0; i + 1 < corners.size(); ++i) {
      // Simpson's rule is exact for the quadratic between two corners.
      const double a = corners[i], b = corners[i + 1], sixth = (b - a) / 6 / length;
      for (const auto& [s, weight] : {std::pair{a, sixth}, std::pair{(a + b) / 2, 4 * sixth}, std::pair{b, sixth}}) {
        splat(s, weight);
        splat(-s, weight);
      }
    }
  }

  std::vector<sdpipe::Tap> taps() const {
    std::vector<sdpipe::Tap> taps;
    for (int64_t y = -ry_, i = 0; y <= ry_; ++y) {
      for (int64_t x = -rx_; x <= rx_; ++x, ++i) {
        if (grid_[i] != 0) taps.push_back({y, x, grid_[i]});
      }
    }
    return taps;
  }

 private:
  // A right angle in degrees misses the axis by rounding, which would double the taps.
  static double snapped(double v) { return std::abs(v) < 1e-12 ? 0 : v; }

  // Where one half of the stroke crosses rows or columns of pixel centres, with its ends.
  std::vector<double> crossings() const {
    std::vector<double> s = {0, half_};
    for (const double step : {std::abs(dy_), std::abs(dx_)}) {
      for (int64_t k = 1; static_cast<double>(k) < half_ * step; ++k) s.push_back(static_cast<double>(k) / step);
    }
    std::sort(s.begin(), s.end());
    return s;
  }

  // Adds `weight` to the four pixels around the point at s, bilinearly.
  void splat(double s, double weight) {
    const double y = s * dy_, x = s * dx_, top = std::floor(y), left = std::floor(x);
    const double v = y - top, u = x - left;
    const int64_t i = static_cast<int64_t>(top) + ry_, j = static_cast<int64_t>(left) + rx_;
    add(i, j, weight * (1 - v) * (1 - u));
    add(i, j + 1, weight * (1 - v) * u);
    add(i + 1, j, weight * v * (1 - u));
    add(i + 1, j + 1, weight * v * u);
  }
  void add(int64_t i, int64_t j, double weight) {
    if (weight != 0) grid_[i * (2 * rx_ + 1) + j] += weight;  // beyond the grid there is only weight 0
  }

  double half_, dy_, dx_;
  int64_t ry_, rx_;
  std::vector<double> grid_;
};

enum class Direction { angle, key };

class MotionBlur {
 public:
  double length_max = 15.0, angle = 0.0;
  Direction direction = Direction::angle;
  double level_max() const { return length_max; }

  void prepare(sdp::Call& call, const sdp::Shape& shape) { size_ = sdpipe::image_size(call, shape); }

  template <class T>
  void apply(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    blur(call, at, x, y, false);
  }
  template <class T>
  void adjoint(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    blur(call, at, x, y, true);
  }

 private:
  template <class T>
  void blur(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y, bool transposed) const {
    const sdp::Batch<T> turn(call.scratch({x.size(), 1}, x.raw()));
    if (direction == Direction::key) call.uniform(0, turn.raw_mutable());
    sdpipe::convolve<T>(size_, at, x, y, transposed, [&](int64_t b) {
      const double degrees = direction == Direction::key ? 180.0 * static_cast<double>(*turn[b]) : angle;
      return Stroke(at.level[b], degrees).taps();
    });
  }

  sdpipe::ImageSize size_;
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::corruption<MotionBlur>("motion_blur", "1.0.0", "The mean along a straight stroke")
               .real("length_max", &MotionBlur::length_max, sdp::above_to(0, 1000), "px", "The longest stroke")
               .choice("direction", &MotionBlur::direction, {"angle", "key"}, "The angle below, or one by each key")
               .real("angle", &MotionBlur::angle, sdp::between(-360, 360), "degrees",
                     "With direction = \"angle\": 0 to the right, 90 upwards")
               .level_unit("px"))
