#include "core/evaluation/image_quality.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace sdpipe {
namespace {

constexpr double range = 255;

void require_same_shape(const ByteImage& a, const ByteImage& b) {
  if (a.shape != b.shape) throw std::invalid_argument("two pictures of different shapes have no quality");
}

// A window's weights in one direction, with sum 1; the window itself is their product.
std::vector<double> weights(int64_t size) {
  std::vector<double> w;
  for (int64_t i = 0; i < size; ++i) {
    const double x = (static_cast<double>(i) - static_cast<double>(size - 1) / 2) / 1.5;
    w.push_back(std::exp(-x * x / 2));
  }
  double sum = 0;
  for (const double v : w) sum += v;
  for (double& v : w) v /= sum;
  return w;
}

struct Plane {
  int64_t height = 0, width = 0;
  std::vector<double> values;
};

// The weighted means of all windows inside: down the columns, then along the rows.
Plane means(const Plane& in, const std::vector<double>& down, const std::vector<double>& along) {
  const int64_t height = in.height - static_cast<int64_t>(down.size()) + 1;
  const int64_t width = in.width - static_cast<int64_t>(along.size()) + 1;
  Plane columns{height, in.width, std::vector<double>(static_cast<size_t>(height * in.width))};
  for (int64_t i = 0; i < height * in.width; ++i) {
    for (size_t k = 0; k < down.size(); ++k)
      columns.values[static_cast<size_t>(i)] += down[k] * in.values[static_cast<size_t>(i) + k * in.width];
  }
  Plane out{height, width, std::vector<double>(static_cast<size_t>(height * width))};
  for (int64_t i = 0; i < height * width; ++i) {
    const double* first = &columns.values[static_cast<size_t>(i / width * in.width + i % width)];
    for (size_t k = 0; k < along.size(); ++k) out.values[static_cast<size_t>(i)] += along[k] * first[k];
  }
  return out;
}

Plane product(const Plane& a, const Plane& b) {
  Plane out = a;
  for (size_t i = 0; i < out.values.size(); ++i) out.values[i] *= b.values[i];
  return out;
}

Plane channel(const ByteImage& image, int64_t c) {
  const int64_t size = image.shape.height * image.shape.width;
  const auto first = image.pixels.begin() + c * size;
  return {image.shape.height, image.shape.width, {first, first + size}};
}

double ssim(const Plane& x, const Plane& y) {
  constexpr double c1 = 0.01 * range * 0.01 * range, c2 = 0.03 * range * 0.03 * range;
  const std::vector<double> down = weights(std::min<int64_t>(11, x.height)),
                            along = weights(std::min<int64_t>(11, x.width));
  const auto mean = [&](const Plane& p) { return means(p, down, along).values; };
  const std::vector<double> m_x = mean(x), m_y = mean(y), xx = mean(product(x, x)), yy = mean(product(y, y)),
                            xy = mean(product(x, y));
  double sum = 0;
  for (size_t i = 0; i < m_x.size(); ++i) {
    const double var_x = xx[i] - m_x[i] * m_x[i], var_y = yy[i] - m_y[i] * m_y[i], cov = xy[i] - m_x[i] * m_y[i];
    sum +=
        (2 * m_x[i] * m_y[i] + c1) * (2 * cov + c2) / ((m_x[i] * m_x[i] + m_y[i] * m_y[i] + c1) * (var_x + var_y + c2));
  }
  return sum / static_cast<double>(m_x.size());
}

}  // namespace

double psnr(const ByteImage& a, const ByteImage& b) {
  require_same_shape(a, b);
  double sum = 0;
  for (size_t i = 0; i < a.pixels.size(); ++i) {
    const double difference = static_cast<double>(a.pixels[i]) - static_cast<double>(b.pixels[i]);
    sum += difference * difference;
  }
  if (sum == 0) return std::numeric_limits<double>::infinity();
  return 10 * std::log10(range * range * static_cast<double>(a.pixels.size()) / sum);
}

double ssim(const ByteImage& a, const ByteImage& b) {
  require_same_shape(a, b);
  double sum = 0;
  for (int64_t c = 0; c < a.shape.channels; ++c) sum += ssim(channel(a, c), channel(b, c));
  return sum / static_cast<double>(a.shape.channels);
}

}  // namespace sdpipe
