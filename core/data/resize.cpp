// Lanczos resampling in two passes. OpenImageIO 2.4's own took 100 times as long: 22 ms against 0.2 ms from
// 3 x 136 x 136 to 32, so that reading a folder would have cost more than training on it.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/data/images.hpp"

namespace sdpipe {
namespace {

// sinc(x) sinc(x / 3) for |x| < 3.
double lanczos3(double x) {
  if (x == 0) return 1;
  if (std::abs(x) >= 3) return 0;
  const double a = std::numbers::pi * x;
  return 3 * std::sin(a) * std::sin(a / 3) / (a * a);
}

// What one output pixel takes from the input pixels first, first + 1, ...
struct Taps {
  int64_t first = 0;
  std::vector<float> weights;
};

// Pixel i covers [i, i + 1). The filter is as wide as an output pixel where that is wider, so that it removes what the
// output cannot hold; taps outside the picture are left out and the others sum to 1.
std::vector<Taps> make_taps(int64_t from, int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to), stretch = std::max(scale, 1.0);
  std::vector<Taps> all(static_cast<size_t>(to));
  for (int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const auto first = static_cast<int64_t>(std::max(0.0, std::floor(center - 3 * stretch + 0.5)));
    const int64_t last = std::min(from, static_cast<int64_t>(std::floor(center + 3 * stretch + 0.5)));
    std::vector<double> weights;
    double sum = 0;
    for (int64_t x = first; x < last; ++x)
      sum += weights.emplace_back(lanczos3((static_cast<double>(x) + 0.5 - center) / stretch));
    all[i].first = first;
    for (const double w : weights) all[i].weights.push_back(static_cast<float>(w / sum));
  }
  return all;
}

// [channels, from, width] to [channels, taps.size(), width]: whole rows at a time.
std::vector<float> resize_rows(const std::vector<float>& in, const ImageShape& shape, const std::vector<Taps>& taps) {
  const auto height = static_cast<int64_t>(taps.size());
  std::vector<float> out(static_cast<size_t>(shape.channels * height * shape.width), 0.0f);
  float* to = out.data();
  for (int64_t c = 0; c < shape.channels; ++c) {
    for (const Taps& tap : taps) {
      const float* from = in.data() + (c * shape.height + tap.first) * shape.width;
      for (const float weight : tap.weights) {
        for (int64_t x = 0; x < shape.width; ++x) to[x] += weight * from[x];
        from += shape.width;
      }
      to += shape.width;
    }
  }
  return out;
}

// [rows, width] to [rows, taps.size()].
std::vector<float> resize_columns(const std::vector<float>& in, int64_t width, const std::vector<Taps>& taps) {
  std::vector<float> out;
  out.reserve(in.size() / static_cast<size_t>(width) * taps.size());
  for (const float* row = in.data(); row != in.data() + in.size(); row += width) {
    for (const Taps& tap : taps) {
      float sum = 0;
      for (size_t k = 0; k < tap.weights.size(); ++k) sum += tap.weights[k] * row[tap.first + static_cast<int64_t>(k)];
      out.push_back(sum);
    }
  }
  return out;
}

}  // namespace

FloatImage resize(const FloatImage& image, int64_t size) {
  const auto [channels, height, width] = image.shape;
  if (height == size && width == size) return image;
  const std::vector<float> narrow = resize_rows(image.pixels, image.shape, make_taps(height, size));
  return {{channels, size, size}, resize_columns(narrow, width, make_taps(width, size))};
}

}  // namespace sdpipe
