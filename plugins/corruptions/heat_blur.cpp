// heat_blur: the heat equation with Neumann (mirror) boundaries, run for a time that makes a Gaussian of standard
// deviation `level` pixels. Diagonal in the DCT-II basis:
//   C = D^T diag(exp(-0.5 level^2 ((pi i / H)^2 + (pi j / W)^2))) D
// Rissanen, Heinonen, Solin: "Generative modelling with inverse heat dissipation" (arXiv 2206.13397), equation 6;
// the blur of Soft Diffusion (arXiv 2209.05442). Separable: y = A_H x A_W with symmetric A_H and A_W.
//
//   [corruption]
//   type = "heat_blur"
//   std_max = 23.0      # px; the paper's for 64 x 64 images

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "core/abi/plugin.hpp"
#include "plugins/dct/product.hpp"

namespace {

// A = D^T diag(decay) D along one axis of n pixels, rows of length ld. A product of cosines is a sum of cosines,
//   A_ab = f(a - b) + f(a + b + 1),  f(r) = 1/n (1/2 + sum_{k >= 1} decay_k cos(pi k r / n)),
// so that a table of 2n numbers, made in float64, is all it takes.
template <class T>
std::vector<T> axis_matrix(int64_t n, int64_t ld, double level) {
  std::vector<double> cosine(2 * n), f(2 * n, 0.5);
  for (int64_t i = 0; i < 2 * n; ++i) cosine[i] = std::cos(M_PI * static_cast<double>(i) / static_cast<double>(n));
  for (int64_t k = 1; k < n; ++k) {
    const double rate = level * M_PI * static_cast<double>(k) / static_cast<double>(n);
    const double decay = std::exp(-0.5 * rate * rate);
    // Most eigenvalues underflow under strong blur; denormal ones would be slow and mean nothing.
    if (decay < std::numeric_limits<T>::min()) break;
    for (int64_t r = 0; r < 2 * n; ++r) f[r] += decay * cosine[k * r % (2 * n)];
  }
  std::vector<T> matrix(n * ld);
  for (int64_t a = 0; a < n; ++a) {
    for (int64_t b = 0; b < n; ++b) {
      matrix[a * ld + b] = static_cast<T>((f[std::abs(a - b)] + f[a + b + 1]) / static_cast<double>(n));
    }
  }
  return matrix;
}

template <class T>
struct Matrices {
  double level;
  std::vector<T> rows, columns;  // A_H, and A_W with padded rows
};

// The matrices of the levels used last: a sampler asks for the same two levels for a whole batch.
template <class T>
class Cache {
 public:
  template <class Make>
  std::shared_ptr<const Matrices<T>> get(double level, Make make) const {
    const std::lock_guard lock(mutex_);
    for (const auto& entry : recent_) {
      if (entry->level == level) return entry;
    }
    recent_.push_front(std::make_shared<const Matrices<T>>(make()));
    if (recent_.size() > 16) recent_.pop_back();
    return recent_.front();
  }

 private:
  mutable std::mutex mutex_;
  mutable std::deque<std::shared_ptr<const Matrices<T>>> recent_;
};

class HeatBlur {
 public:
  double std_max = 23.0;
  double level_max() const { return std_max; }

  void prepare(sdp::Call& call, const sdp::Shape& shape) {
    if (shape.size() < 2) call.fail("blurs images: samples need a height and a width", {}, SDP_E_UNSUPPORTED);
    height_ = shape[shape.size() - 2];
    width_ = shape.back();
  }

  template <class T>
  void apply(sdp::Call&, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    std::vector<T> half(height_ * sdpipe::padded<T>(width_));
    std::shared_ptr<const Matrices<T>> a;
    for (int64_t b = 0; b < x.size(); ++b) {
      if (at.level[b] == 0) {
        std::copy_n(x[b], x.stride(), y[b]);
        continue;
      }
      if (!a || a->level != at.level[b]) a = matrices<T>(at.level[b]);
      for (int64_t first = 0; first < x.stride(); first += height_ * width_) {
        blur_plane(*a, x[b] + first, y[b] + first, half.data());
      }
    }
  }

  template <class T>
  void adjoint(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    apply(call, at, x, y);  // D^T diag D is symmetric
  }

 private:
  template <class T>
  void blur_plane(const Matrices<T>& a, const T* x, T* y, T* half) const {
    const int64_t ld = sdpipe::padded<T>(width_);
    sdpipe::multiply<T>({height_, width_, width_, x, width_, a.columns.data(), ld, half, ld});
    sdpipe::multiply<T>({height_, width_, height_, a.rows.data(), height_, half, ld, y, width_});
  }

  template <class T>
  std::shared_ptr<const Matrices<T>> matrices(double level) const {
    return std::get<Cache<T>>(caches_).get(level, [&] {
      return Matrices<T>{level, axis_matrix<T>(height_, height_, level),
                         axis_matrix<T>(width_, sdpipe::padded<T>(width_), level)};
    });
  }

  int64_t height_ = 1, width_ = 1;
  std::tuple<Cache<float>, Cache<double>> caches_;
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::corruption<HeatBlur>("heat_blur", "1.0.0", "Gaussian blur by the heat equation")
               .real("std_max", &HeatBlur::std_max, sdp::above(0), "px", "Standard deviation of the strongest blur")
               .level_unit("px"))
