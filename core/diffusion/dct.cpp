#include "core/diffusion/dct.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>

#include <cmath>
#include <numbers>

namespace sdpipe {

at::Tensor dct_matrix(int64_t n, const at::TensorOptions& options) {
  at::Tensor matrix = at::empty({n, n}, at::TensorOptions(at::kDouble));
  double* d = matrix.data_ptr<double>();
  const double length = static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) {
    const double scale = std::sqrt((i == 0 ? 1.0 : 2.0) / length);
    for (int64_t j = 0; j < n; ++j) {
      d[i * n + j] =
          scale * std::cos(std::numbers::pi * static_cast<double>(i) * (static_cast<double>(j) + 0.5) / length);
    }
  }
  return matrix.to(options);
}

Dct::Dct(int64_t height, int64_t width, const at::TensorOptions& options)
    : rows_(dct_matrix(height, options)), columns_(dct_matrix(width, options)) {}

at::Tensor Dct::forward(const at::Tensor& x) const { return at::matmul(at::matmul(rows_, x), columns_.t()); }

at::Tensor Dct::inverse(const at::Tensor& c) const { return at::matmul(at::matmul(rows_.t(), c), columns_); }

at::Tensor dct2(const at::Tensor& x) { return Dct(x.size(-2), x.size(-1), x.options()).forward(x); }

at::Tensor inverse_dct2(const at::Tensor& c) { return Dct(c.size(-2), c.size(-1), c.options()).inverse(c); }

}  // namespace sdpipe
