// A mixture of Gaussians and its fit by expectation-maximisation (Dempster, Laird, Rubin, 1977).
//
//   p(z) = sum_k w_k N(z; mu_k, S_k),   z in R^r
//
//   E:  gamma_nk = w_k N(z_n; mu_k, S_k) / p(z_n)
//   M:  n_k = sum_n gamma_nk,  w_k = n_k / n,  mu_k = sum_n gamma_nk z_n / n_k,
//       S_k = the likeliest covariance with S_k >= diag(floor), from sum_n gamma_nk (z_n - mu_k)(z_n - mu_k)^T / n_k
//
// Both steps are products with the monomials (z_i z_j, z_i, 1): log w_k N(z; mu_k, S_k) is linear in them. All in
// float64 and on one thread, so that the bytes do not depend on the number of threads.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <vector>

namespace sdpipe {

struct Mixture {
  at::Tensor weights;  // w: (K), sum 1
  at::Tensor means;    // mu: (K, r)
  at::Tensor factors;  // L: (K, r, r), lower triangular, S_k = L_k L_k^T

  int64_t components() const { return weights.size(0); }
  int64_t dimensions() const { return means.size(1); }
  // log p(z) of each row of z (n, r), in nats: (n).
  at::Tensor log_density(const at::Tensor& z) const;
};

struct MixtureOptions {
  int64_t components = 1;
  std::vector<int64_t> first_means;  // rows of z, one for each component, all different
  std::vector<double> floor;         // r variances above 0
  int64_t leading = 12;              // dimensions that the iterations see, the first ones
  int64_t iterations = 50;
  double least_gain = 1e-5;  // of the mean log-likelihood, in nats; a smaller one ends the iterations
  const std::atomic<bool>* cancel = nullptr;
};

struct MixtureFit {
  Mixture mixture;
  // Mean of log p(z_n) over the leading dimensions, before each M step. It falls only where a component was emptied.
  std::vector<double> log_likelihood;
  int64_t emptied = 0;  // components that came to hold fewer than 2 r images, so that the others took theirs
};

// z (n, r), float64, r >= 1 and n >= components. Where r > leading, each component takes mean and covariance of all
// dimensions by the responsibilities that the leading ones gave it, and its covariance is shrunk towards the mean of
// all components': (n_k S_k + r S) / (n_k + r). Throws Cancelled.
MixtureFit fit_mixture(const at::Tensor& z, const MixtureOptions& options);

}  // namespace sdpipe
