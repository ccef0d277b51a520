// A covariance by its largest directions: probabilistic principal components (Tipping and Bishop, 1999).
//
//   S = F^T F + r I,   F = diag(sqrt(lambda_i - r)) U^T,   r = (trace S - sum_i lambda_i) / (d - rank)
//
// lambda_i and the columns u_i of U are the `rank` largest eigenvalues of the data's covariance and their vectors, r
// the mean of the other eigenvalues: the total variance is the data's.
#pragma once

#include <ATen/core/Tensor.h>

namespace sdpipe {

struct LowRank {
  at::Tensor factor;  // F: (rank, d), the largest direction first
  double residual_variance = 0;
};

// `centred` (n, d), float64, columns of mean 0; the covariance is over n. 1 <= rank <= min(n, d). The subspace comes
// from a randomised iteration (Halko, Martinsson, Tropp, arXiv 0909.4061) that is exact where rank + 16 >= min(n, d).
LowRank principal_components(const at::Tensor& centred, int64_t rank);

}  // namespace sdpipe
