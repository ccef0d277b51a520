// Convolutions by few or many taps, beyond the edge reflected:
//   y_p = sum_k w_k x_reflect(p + d_k),
// with other taps for each sample. E pads a plane by reflection and K sums over the taps, so that C = K E and
// C^T = E^T K^T: K^T sums over the mirrored taps, E^T folds what lies beyond the edge back onto its origin.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "plugins/corruptions/image.hpp"
#include "plugins/dct/product.hpp"

namespace sdpipe {

struct Tap {
  int64_t dy, dx;
  double weight;
};

namespace detail {

// out(i, j) = sum_k weight[k] in[i ld_in + j + offset[k]]
template <class T>
struct Correlation {
  int64_t rows, columns;
  const T* in;
  int64_t ld_in;
  const std::vector<int64_t>& offset;
  const std::vector<T>& weight;
  T* out;
  int64_t ld_out;  // padded
};

template <class T, int Bytes, int Rows, int Vectors>
[[gnu::always_inline]] inline void correlate_block(const Correlation<T>& c, int64_t row, int64_t column) {
  using Register = typename Vector<T, Bytes>::in_register;
  using Memory = typename Vector<T, Bytes>::in_memory;
  constexpr int64_t width = Bytes / sizeof(T);
  const T* in = c.in + row * c.ld_in + column;
  Register sum[Rows][Vectors] = {};
  for (size_t k = 0; k < c.weight.size(); ++k) {
    const T* at = in + c.offset[k];
    for (int r = 0; r < Rows; ++r) {
      for (int v = 0; v < Vectors; ++v)
        sum[r][v] += c.weight[k] * *reinterpret_cast<const Memory*>(at + r * c.ld_in + v * width);
    }
  }
  for (int r = 0; r < Rows; ++r) std::memcpy(c.out + (row + r) * c.ld_out + column, sum[r], sizeof sum[r]);
}

template <class T, int Bytes, int Vectors>
[[gnu::always_inline]] inline void correlate_all(const Correlation<T>& c) {
  for (int64_t column = 0; column < c.columns; column += 64 / static_cast<int64_t>(sizeof(T))) {
    static_assert(Bytes * Vectors == 64);
    int64_t row = 0;
    for (; row + 4 <= c.rows; row += 4) correlate_block<T, Bytes, 4, Vectors>(c, row, column);
    for (; row < c.rows; ++row) correlate_block<T, Bytes, 1, Vectors>(c, row, column);
  }
}

#if defined(__x86_64__)
template <class T>
[[gnu::target("avx512f,avx512vl,fma")]] void correlate_avx512(const Correlation<T>& c) {
  correlate_all<T, 64, 1>(c);
}
template <class T>
[[gnu::target("avx2,fma")]] void correlate_avx2(const Correlation<T>& c) {
  correlate_all<T, 32, 2>(c);
}
#endif

template <class T>
void correlate(const Correlation<T>& c) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) return correlate_avx512(c);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return correlate_avx2(c);
#endif
  correlate_all<T, 16, 4>(c);
}

}  // namespace detail

// One sample's convolution, or its transpose, plane by plane.
template <class T>
class Convolution {
 public:
  Convolution(const ImageSize& size, const std::vector<Tap>& taps, bool transposed)
      : size_(size), transposed_(transposed) {
    std::vector<Tap> kept;
    for (const Tap& tap : taps) {
      // Denormal weights would be slow and mean nothing.
      if (std::abs(tap.weight) < static_cast<double>(std::numeric_limits<T>::min())) continue;
      kept.push_back(tap);
      ry_ = std::max(ry_, std::abs(tap.dy));
      rx_ = std::max(rx_, std::abs(tap.dx));
    }
    const int64_t beyond = transposed ? 4 : 2;
    ld_in_ = size.width + beyond * rx_;
    out_rows_ = size.height + (beyond - 2) * ry_;
    out_columns_ = size.width + (beyond - 2) * rx_;
    in_.resize((size.height + beyond * ry_) * ld_in_ + 64);  // the last vector of the last row reads on
    out_.resize(out_rows_ * padded<T>(out_columns_));
    for (const Tap& tap : kept) {
      const int64_t to = tap.dy * ld_in_ + tap.dx;
      offset_.push_back(ry_ * ld_in_ + rx_ + (transposed ? -to : to));
      weight_.push_back(static_cast<T>(tap.weight));
    }
    for (int64_t i = -ry_; i < size.height + ry_; ++i) row_.push_back(reflect(i, size.height));
    for (int64_t j = -rx_; j < size.width + rx_; ++j) column_.push_back(reflect(j, size.width));
  }

  void run(const T* x, T* y) { transposed_ ? adjoint(x, y) : apply(x, y); }

 private:
  void apply(const T* x, T* y) {
    T* padded_row = in_.data();
    for (const int64_t i : row_) {
      for (const int64_t j : column_) *padded_row++ = x[i * size_.width + j];
    }
    sum_over_taps();
    for (int64_t i = 0; i < size_.height; ++i)
      std::copy_n(out_.data() + i * padded<T>(size_.width), size_.width, y + i * size_.width);
  }

  void adjoint(const T* x, T* y) {
    for (int64_t i = 0; i < size_.height; ++i)
      std::copy_n(x + i * size_.width, size_.width, in_.data() + (i + 2 * ry_) * ld_in_ + 2 * rx_);
    sum_over_taps();
    std::fill_n(y, size_.pixels(), T(0));
    const T* row = out_.data();
    for (const int64_t i : row_) {
      for (size_t j = 0; j < column_.size(); ++j) y[i * size_.width + column_[j]] += row[j];
      row += padded<T>(out_columns_);
    }
  }

  void sum_over_taps() {
    detail::correlate<T>(
        {out_rows_, out_columns_, in_.data(), ld_in_, offset_, weight_, out_.data(), padded<T>(out_columns_)});
  }

  ImageSize size_;
  bool transposed_;
  int64_t ry_ = 0, rx_ = 0, ld_in_, out_rows_, out_columns_;
  std::vector<T> in_, out_, weight_;
  std::vector<int64_t> offset_, row_, column_;
};

// taps_of(b): the taps of sample b.
template <class T, class TapsOf>
void convolve(const ImageSize& size, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y, bool transposed,
              TapsOf taps_of) {
  for (int64_t b = 0; b < x.size(); ++b) {
    if (at.level[b] == 0) {
      std::copy_n(x[b], x.stride(), y[b]);
      continue;
    }
    Convolution<T> convolution(size, taps_of(b), transposed);
    for (int64_t c = 0; c < size.channels; ++c) convolution.run(x[b] + c * size.pixels(), y[b] + c * size.pixels());
  }
}

}  // namespace sdpipe
