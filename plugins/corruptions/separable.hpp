// Separable operators: Y = A_H X A_W^T for every plane X, with matrices made for a level.
#pragma once

#include <algorithm>
#include <deque>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "plugins/corruptions/image.hpp"
#include "plugins/dct/product.hpp"

namespace sdpipe {

class SeparableOperator {
 public:
  void prepare(const sdp::Call& call, const sdp::Shape& shape) { size_ = image_size(call, shape); }

  // axis(n, level) makes the n x n matrix A, row by row, as a std::vector<T>. `transposed`: X = A_H^T Y A_W.
  template <class T, class Axis>
  void apply(const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y, bool transposed, Axis axis) const {
    std::vector<T> half(size_.channels * size_.height * padded<T>(size_.width));
    const size_t kept = std::max<size_t>(64, 2 * static_cast<size_t>(x.size()));
    std::shared_ptr<const Matrices<T>> a;
    for (int64_t b = 0; b < x.size(); ++b) {
      if (at.level[b] == 0) {
        std::copy_n(x[b], x.stride(), y[b]);
        continue;
      }
      if (!a || a->level != at.level[b]) a = matrices<T>(at.level[b], transposed, kept, axis);
      multiply_planes(*a, x[b], y[b], half.data());
    }
  }

 private:
  template <class T>
  struct Matrices {
    double level;
    bool transposed;
    std::vector<T> rows, columns;  // A_H, and A_W^T with padded rows; or the transposes of both
  };

  // The matrices of the levels used last: a sampler asks for the same two for a whole batch, the gradient of a loss for
  // those of its own batch again, for which both forms of a batch of levels must fit.
  template <class T>
  struct Cache {
    std::mutex mutex;
    std::deque<std::shared_ptr<const Matrices<T>>> recent;
  };

  template <class T, class Axis>
  std::shared_ptr<const Matrices<T>> matrices(double level, bool transposed, size_t kept, Axis axis) const {
    auto& [mutex, recent] = std::get<Cache<T>>(caches_);
    const std::lock_guard lock(mutex);
    for (const auto& entry : recent) {
      if (entry->level == level && entry->transposed == transposed) return entry;
    }
    const int64_t h = size_.height, w = size_.width;
    recent.push_front(
        std::make_shared<const Matrices<T>>(Matrices<T>{level, transposed, laid_out(axis(h, level), h, h, transposed),
                                                        laid_out(axis(w, level), w, padded<T>(w), !transposed)}));
    if (recent.size() > kept) recent.pop_back();
    return recent.front();
  }

  // An n x n matrix or its transpose, in rows of length ld.
  template <class T>
  static std::vector<T> laid_out(const std::vector<T>& a, int64_t n, int64_t ld, bool transposed) {
    std::vector<T> out(n * ld);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) out[i * ld + j] = a[transposed ? j * n + i : i * n + j];
    }
    return out;
  }

  template <class T>
  void multiply_planes(const Matrices<T>& a, const T* x, T* y, T* half) const {
    const int64_t h = size_.height, w = size_.width, ld = padded<T>(w);
    multiply<T>({size_.channels * h, w, w, x, w, a.columns.data(), ld, half, ld});
    for (int64_t c = 0; c < size_.channels; ++c) {
      multiply<T>({h, w, h, a.rows.data(), h, half + c * h * ld, ld, y + c * h * w, w});
    }
  }

  ImageSize size_;
  mutable std::tuple<Cache<float>, Cache<double>> caches_;
};

}  // namespace sdpipe
