// The orthonormal DCT-II of images: rows and columns by matrix products, matrices made in float64.
#pragma once

#include <ATen/core/Tensor.h>

namespace sdpipe {

// D (n x n), D D^T = I: coefficient i is a cosine of i half periods over n samples.
at::Tensor dct_matrix(int64_t n, const at::TensorOptions& options);
// For images of one size: x (..., height, width) to coefficients, and back.
class Dct {
 public:
  Dct(int64_t height, int64_t width, const at::TensorOptions& options);
  at::Tensor forward(const at::Tensor& x) const;
  at::Tensor inverse(const at::Tensor& coefficients) const;

 private:
  at::Tensor rows_, columns_;
};

// The same where it is wanted once.
at::Tensor dct2(const at::Tensor& x);
at::Tensor inverse_dct2(const at::Tensor& coefficients);

}  // namespace sdpipe
