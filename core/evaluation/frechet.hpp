// The Fréchet distance between Gaussians (Dowson and Landau, J. Multivariate Analysis 12, 1982), which is their W2:
//
//   d^2 = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))
//
// tr (S1 S2)^(1/2) is the sum of the singular values of S1^(1/2) S2^(1/2), with roots by symmetric eigen-decomposition
// in float64: real for every pair, and no digits are lost where a covariance has no full rank.
#pragma once

#include <ATen/core/Tensor.h>

namespace sdpipe {

struct Gaussian {
  at::Tensor mean;        // (f), float64
  at::Tensor covariance;  // (f, f), float64
};

// Mean and unbiased covariance of the rows of `points` (n, f), n >= 2. Throws std::invalid_argument for fewer.
Gaussian fit_gaussian(const at::Tensor& points);

// d^2. Of fitted Gaussians it is biased: the fewer points, the larger, so state their number with it.
double frechet_distance(const Gaussian& a, const Gaussian& b);

// n b(n): what n samples of the Gaussian with this covariance are expected to score against it, times n, to the first
// order in 1/n (ours). With the eigenvalues l of the covariance S
//
//   b(n) = (tr S + 1/2 sum_ij l_i l_j (1 + [i = j]) / (l_i + l_j)) / n
//
// the first part for the mean, the second for the covariance; a pair of zeros counts 0. A reference that is itself
// fitted to m points adds b(m).
double frechet_bias_times_n(const at::Tensor& covariance);

}  // namespace sdpipe
