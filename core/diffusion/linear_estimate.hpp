// The best linear estimate (LMMSE) of images of which y = A x_0 + sigma_y n was observed, with x_0 taken for Gaussian
// with the mean m and covariance S of the training images:
//
//   x0_hat = m + S A^T (A S A^T + sigma_y^2 I)^-1 (y - A m)
//
// No estimate that is linear in y has a smaller mean squared error; what a network's restoration gains over it comes
// from what images are beyond their covariance. By conjugate gradients, for any A (ours).
#pragma once

#include <optional>
#include <string>

#include "core/diffusion/prior.hpp"
#include "core/diffusion/restoration.hpp"

namespace sdpipe {

struct GaussianLaw {
  std::string basis;  // where S comes from: "pixel", whole; "low_rank", F^T F + r I; "dct", diagonal there
  at::Tensor mean;    // (channel, height, width), like the samples it was made for
  LinearMap root;     // B, B B^T = S
};

// The law of clean images for samples like `like`, by the fullest covariance that the statistics hold: pixel, else
// low_rank, else dct. None where they hold no covariance of clean images, as those of an earlier version.
std::optional<GaussianLaw> law_of_images(const PriorStatistics& statistics, const at::Tensor& like);

// y (batch, channel, height, width), as the law's samples. The gradient falls to 1e-8 of its first length in float64
// and to 1e-6 in float32, which rounding allows.
at::Tensor linear_estimate(const GaussianLaw& law, const Measurement& a, const at::Tensor& y);

}  // namespace sdpipe
