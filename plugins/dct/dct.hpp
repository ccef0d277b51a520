// The orthonormal two-dimensional DCT-II of (height, width) planes, in float64:
//   X_k = s_k sum_n x_n cos(pi k (2n + 1) / (2N)),  s_0 = sqrt(1/N), s_k = sqrt(2/N).
// Its basis diagonalises every blur with Neumann boundaries; the inverse is the transpose.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "plugins/dct/product.hpp"

namespace sdpipe {

class Dct {
 public:
  Dct(int64_t height, int64_t width)
      : height_(height), width_(width), rows_(height), columns_(width), half_(height * padded<double>(width)) {}

  // Both work in place on one plane of height x width numbers.
  void forward(double* plane) { transform(rows_.basis.data(), height_, columns_.transposed.data(), plane); }
  void inverse(double* plane) {
    transform(rows_.transposed.data(), padded<double>(height_), columns_.basis_padded.data(), plane);
  }

 private:
  struct Axis {
    explicit Axis(int64_t n) : basis(n * n), basis_padded(n * padded<double>(n)), transposed(n * padded<double>(n)) {
      const int64_t ld = padded<double>(n);
      for (int64_t k = 0; k < n; ++k) {
        const double scale = std::sqrt((k == 0 ? 1.0 : 2.0) / static_cast<double>(n));
        for (int64_t i = 0; i < n; ++i) {
          // The angle is reduced in integers, so that it stays exact for large k (2i + 1).
          const int64_t quarter = k * (2 * i + 1) % (4 * n);
          const double value = scale * std::cos(M_PI * static_cast<double>(quarter) / static_cast<double>(2 * n));
          basis[k * n + i] = basis_padded[k * ld + i] = transposed[i * ld + k] = value;
        }
      }
    }
    std::vector<double> basis, basis_padded, transposed;
  };

  // plane = L plane R
  void transform(const double* left, int64_t left_length, const double* right, double* plane) {
    const int64_t ld = padded<double>(width_);
    multiply<double>({height_, width_, width_, plane, width_, right, ld, half_.data(), ld});
    multiply<double>({height_, width_, height_, left, left_length, half_.data(), ld, plane, width_});
  }

  int64_t height_, width_;
  Axis rows_, columns_;
  std::vector<double> half_;
};

}  // namespace sdpipe
