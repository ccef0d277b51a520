// The start of `prior = "mixture"` (ours): x_1 = C_1 x + sigma_1 eps, with x a Gaussian image whose few coordinates
// that C_1 leaves above the noise come from a mixture of Gaussians. It holds no training image.
//
//   S = V Lambda V^T + r (I - V V^T)    the covariance of `gaussian`, `low_rank` (low_rank.hpp)
//   G = mean over keys of (C_1 V Lambda^1/2)^T (C_1 V Lambda^1/2)
//   W = V Lambda^1/2 U,  P = U^T Lambda^-1/2 V^T,  P W = I
//
// with U the eigenvectors of G whose eigenvalue g_i is above (0.2 sigma_1)^2, the largest first, at most 64. The
// coordinates z = P (x - m) of the training images have covariance I, z_i moves C_1 x by sqrt(g_i), and
//
//   x = g + W (z - P (g - m)),   g ~ N(m, S),   z ~ sum_k w_k N(mu_k, S_k)
//
// A coordinate that is left Gaussian because g_i is below (0.2 sigma_1)^2 costs at most 0.2^4 / 4 nats. Finer detail of
// z than 0.1 sigma_1 in C_1 x drowns in sigma_1 eps: no S_k is below (0.1 sigma_1)^2 / g_i.
#pragma once

#include "core/data/source.hpp"
#include "core/diffusion/mixture.hpp"
#include "core/diffusion/process.hpp"

namespace sdpipe {

inline constexpr int64_t mixture_directions = 64;
inline constexpr int64_t mixture_components = 128;
inline constexpr int64_t mixture_images = 50'000;    // training images at most that it is fitted on
inline constexpr int64_t images_per_component = 20;  // at least
inline constexpr double enough_of_the_start = 0.95;  // share below which the start is said to be partly Gaussian

// The Gaussian that it departs from; prior.hpp keeps it.
struct GaussianImages {
  at::Tensor mean;               // m: (channel, height, width), float64
  at::Tensor low_rank;           // rows sqrt(lambda_i - r) v_i: (rank, channel, height, width)
  double residual_variance = 0;  // r
};

struct MixtureStart {
  at::Tensor directions;  // columns of W: (r, channel, height, width); r = 0 where C_1 leaves nothing above the noise
  Mixture mixture;        // of z, where r > 0
  // How the number of components was chosen: the mean log-likelihood, in nats an image, of a fifth of the images under
  // a fit on the others.
  std::vector<double> tried, held_out;
  size_t choice = 0;   // among them
  double share = 1;    // of the variance that C_1 leaves above the noise, what the directions hold
  int64_t images = 0;  // that it was fitted on
  int64_t asked = 0;   // components that were asked for; 0: the number was chosen

  int64_t dimensions() const { return directions.size(0); }
};

// Why a mixture of so many components (0: as many as are chosen) cannot be fitted to `images` images; empty where it
// can.
std::string too_few_for_mixture(int64_t images, int64_t components);

// P: (r, d), of directions W under this Gaussian.
at::Tensor coordinates_of(const GaussianImages& gaussian, const at::Tensor& directions);

// `components` = 0 chooses among 1, 2, 4 ... 128 the smallest number whose held-out log-likelihood is within 0.01 nats
// of the best. Reads up to 50,000 images of the source once, and keeps z of each. Throws RunError where there are fewer
// than 20 images a component, Cancelled.
MixtureStart estimate_mixture_start(const Source& source, const GaussianImages& gaussian, const Process& process,
                                    uint64_t seed, int64_t components, const std::atomic<bool>* cancel = nullptr);

}  // namespace sdpipe
