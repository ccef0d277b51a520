// The linear estimate of x_0 from x_t, for data taken to be Gaussian with mean m and covariance S before anything is
// seen:
//
//   W(x) = m + S C_t^T (C_t S C_t^T + sigma_t^2 I)^-1 (x - C_t m)
//   S_t  = (S^-1 + C_t^T C_t / sigma_t^2)^-1 is left open
//
// Where C_t and S are diagonal in one orthonormal basis, with entries c_k and p_k:
//
//   w_k = p_k c_k / (c_k^2 p_k + sigma^2),   s_k^2 = p_k sigma^2 / (c_k^2 p_k + sigma^2),
//   visibility v_k = c_k^2 p_k / (c_k^2 p_k + sigma^2)
//
// For any other C_t, W is found by conjugate gradients, with S diagonal in the DCT. The estimate is Wiener's; S for it,
// and these bases, are ours.
#pragma once

#include <optional>

#include "core/diffusion/calibration.hpp"
#include "core/diffusion/dct.hpp"
#include "core/diffusion/process.hpp"

namespace sdpipe {

// In which C_t is diagonal: the DCT of each channel (blurs), the pixels (masks), or neither.
enum class Basis { dct, pixel, none };

// The basis of C, the DCT before the pixels: an image with random coefficients is corrupted at 28 levels, evenly over
// the path and near its ends, each with a key of its own, and compared with what the image whose coefficients are all
// one becomes. `options`: dtype and device of the run.
Basis basis_of(const Process& process, const SampleShape& shape, const at::TensorOptions& options);

// Images (batch, channel, height, width) to coefficients and back.
class BasisChange {
 public:
  BasisChange(Basis basis, const at::Tensor& like);
  at::Tensor forward(const at::Tensor& x) const { return dct_ ? dct_->forward(x) : x; }
  at::Tensor inverse(const at::Tensor& c) const { return dct_ ? dct_->inverse(c) : c; }

 private:
  std::optional<Dct> dct_;
};

// What the filter is made of at the points of a batch, coefficient by coefficient: (batch, channel, height, width),
// float64.
struct FilterCoefficients {
  at::Tensor c, p;   // p without a batch
  at::Tensor sigma;  // (batch, 1, 1, 1)

  at::Tensor gain() const;        // w_k; 0 where nothing is seen
  at::Tensor open() const;        // s_k; sqrt(p_k) where nothing is seen
  at::Tensor whitening() const;   // (c_k^2 p_k + sigma^2)^-1/2; 0 where that has no variance
  at::Tensor visibility() const;  // v_k; 0 where nothing is seen
};

class LinearFilter {
 public:
  // mean and variance (channel, height, width), float64: the variances of the coefficients in `basis`, of the DCT's
  // where it is `none`.
  LinearFilter(Basis basis, at::Tensor mean, at::Tensor variance)
      : basis_(basis), mean_(std::move(mean)), variance_(std::move(variance)) {}
  // In the basis of the process, from all calibration images.
  static LinearFilter estimate(const Process& process, const DataCalibration& data);

  Basis basis() const { return basis_; }
  const at::Tensor& mean() const { return mean_; }
  const at::Tensor& variance() const { return variance_; }

  // m for each sample of the batch, in the dtype of x.
  at::Tensor means_like(const at::Tensor& x) const;
  // Where C_t is diagonal.
  FilterCoefficients coefficients(const Process& process, const Points& at, const at::Tensor& like) const;
  // W(x) - m of y = x - C_t m, and its transpose, for any C_t: by at most 10 conjugate gradients. The transpose is
  // exact as far as these have converged. sigma counts as no less than byte_noise.
  at::Tensor estimate_of(const Process& process, const Points& at, const at::Tensor& y) const;
  at::Tensor transpose_of(const Process& process, const Points& at, const at::Tensor& u) const;

 private:
  Basis basis_;
  at::Tensor mean_, variance_;
};

}  // namespace sdpipe
