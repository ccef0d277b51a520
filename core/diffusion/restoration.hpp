// Restoring images of which y = A x_0 + sigma_y n, n ~ N(0, I), was observed, with a model of clean images.
//
//   reverse     A is the model's own C: y stands on its path, and the reverse process starts there
//   projection  posterior sampling: every x0_hat moves to where y and x_t agree best, by conjugate gradients
//   guidance    posterior sampling: every x0_hat moves along the gradient of |y - A x0_hat(x_t)|^2
//
// The last two correct x0_hat before the sampler sees it, so that every sampler can be used; A is any corruption. Both
// lower minus twice the log of p(x_0 | x_t, y), with d = x_0 - x0_hat and x_0 taken for Gaussian with covariance S:
//
//   Q(d) = |y - A x0_hat - A d|^2 / sigma_y^2 + d^T S^-1 d + |C_t d|^2 / sigma_t^2
//
// With S = I and C_t = I the last two are |d|^2 / r_t^2, r_t^2 = sigma_t^2 / (1 + sigma_t^2), and the minimiser is that
// of PiGDM (Song, Vahdat, Mardani, Kautz, ICLR 2023), x0_hat + A^T (A A^T + (sigma_y^2 / r_t^2) I)^-1 (y - A x0_hat);
// as sigma_y tends to 0, it tends to DDNM's x0_hat + A^+ (y - A x0_hat) (Wang, Yu, Zhang, arXiv 2212.00490). Another
// C_t, and an S that is not white, are ours; so is that sigma_y and sigma_t count as no less than byte_noise, without
// which sigma_y = 0 would silence the last two terms where A sees nothing. Guidance goes along the gradient of DPS
// (Chung et al., arXiv 2209.14687), for S = I; the length of its step is ours: the minimum of Q in that direction.
#pragma once

#include "core/diffusion/least_squares.hpp"
#include "core/diffusion/trajectory.hpp"

namespace sdpipe {

// y = A x_0 + sigma_y n for a batch: A = corruption at one level, with a key for each sample.
class Measurement {
 public:
  // Throws RunError where the level is not within the corruption's, or sigma is negative.
  Measurement(std::shared_ptr<const Corruption> corruption, double level, std::vector<uint64_t> keys, double sigma);
  LinearMap map() const;  // A; borrows this
  at::Tensor apply(const at::Tensor& x) const { return corruption_->apply(at_, x); }
  at::Tensor adjoint(const at::Tensor& x) const { return corruption_->adjoint(at_, x); }
  // y of given images; the noise of each depends on the seed and its number `sample` alone.
  at::Tensor observe(const at::Tensor& x_0, uint64_t seed, std::span<const uint64_t> sample) const;
  double level() const { return at_.level.front(); }
  double sigma() const { return at_.sigma.front(); }
  const std::vector<uint64_t>& keys() const { return at_.key; }

 private:
  std::shared_ptr<const Corruption> corruption_;
  Points at_;
};

// A^T (A A^T + sigma_y^2 I)^-1 y: what y alone says, for white data of unit variance. A^+ y where sigma_y is 0.
at::Tensor pseudo_inverse(const Measurement& a, const at::Tensor& y, const ConjugateLimits& limits = {1e-6, 200});

// Where on the path an observation at `level` with noise `sigma` stands.
struct PathEntry {
  double t = 0;            // level(t) = level; of several such t the smallest with sigma(t) >= sigma, else the largest
  double missing = 0;      // noise to add, sqrt(sigma(t)^2 - sigma^2)
  bool too_noisy = false;  // sigma > sigma(t): the model takes the rest for a part of the image
};
// Throws RunError where the level is beyond the path's largest.
PathEntry path_entry(const Path& path, double level, double sigma);

// Reverse process from y's place on the path: nodes t k/N, k = N ... 1, the sampler's steps, the last denoise.
// `options.nodes` is not used. `sample` numbers the images as in run_trajectory.
Trajectory restore_by_reversing(const Denoiser& denoiser, const Sampler& sampler, const Measurement& a,
                                const at::Tensor& y, int64_t steps, std::span<const uint64_t> sample,
                                TrajectoryOptions options);

// What images are taken for before anything is seen of them: Gaussian with the variances
// v_ij = a (1 + i^2 + j^2)^-exponent over DCT indices, mean `variance`. Natural images have a power that falls about
// with the square of the frequency (Field 1987): exponent 1. 1/3 is the variance of a uniform value in [-1, 1].
struct ImageLaw {
  double exponent = 1, variance = 1.0 / 3;
};
inline constexpr ImageLaw white_law{0, 1};

// B with B B^T = S, the covariance of the law, for samples like `like`.
LinearMap root_of(const ImageLaw& law, const at::Tensor& like);
// The same for given variances of the DCT coefficients, ([channel,] height, width).
LinearMap dct_root(const at::Tensor& variance, const at::Tensor& like);

// Where posterior sampling starts: x_1 from the prior, moved by what y says. A blur at t = 1 still shows brightness and
// large forms, and an x_1 of another image would fix them against y. x_1 + C_1 d with the d of least Q at sigma_1 =
// infinity. Conditioning a sample by its misfit is Matheron's rule (Wilson et al., arXiv 2011.04026); its use here is
// ours. Where C_1 shows nothing, x_1 stays. One evaluation of the network.
at::Tensor posterior_start(const Denoiser& denoiser, const Measurement& a, const at::Tensor& y, const at::Tensor& x_1,
                           const std::vector<uint64_t>& keys, const ImageLaw& law = {});

// x0_hat moved to the minimum of Q. Give it to run_trajectory with posterior_start.
class ProjectedDenoiser : public Denoiser {
 public:
  // Borrows `a`. y (batch, channel, height, width) as the trajectory's x.
  ProjectedDenoiser(const Denoiser& denoiser, const Measurement& a, at::Tensor y, const ImageLaw& law = {},
                    const ConjugateLimits& limits = {})
      : Denoiser(denoiser), a_(a), y_(std::move(y)), root_(root_of(law, y_)), limits_(limits) {}
  at::Tensor x0_hat(const Points& at, const at::Tensor& x_t) const override;

 private:
  const Measurement& a_;
  at::Tensor y_;
  LinearMap root_;
  ConjugateLimits limits_;
};

// x0_hat moved along v = -1/2 gradient of |y - A x0_hat(x_t)|^2 in x_t, `strength` times as far as Q falls.
class GuidedDenoiser : public Denoiser {
 public:
  GuidedDenoiser(const Denoiser& denoiser, const Measurement& a, at::Tensor y, double strength = 1)
      : Denoiser(denoiser), a_(a), y_(std::move(y)), strength_(strength) {}
  at::Tensor x0_hat(const Points& at, const at::Tensor& x_t) const override;

  struct Estimate {
    at::Tensor x0_hat;  // uncorrected
    at::Tensor misfit;  // y - A x0_hat
    at::Tensor v;       // J^T A^T misfit, J the derivative of x0_hat in x_t, by the model's vjp
  };
  Estimate estimate(const Points& at, const at::Tensor& x_t) const;

 private:
  const Measurement& a_;
  at::Tensor y_;
  double strength_;
};

}  // namespace sdpipe
