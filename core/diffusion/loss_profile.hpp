// Where a loss spends itself along the path, before anything is trained: what the linear estimate of the data
// (linear_filter.hpp) would lose at t, per element, and how much of it lies on coefficients that x_t does not show yet.
//
//   loss(t) = 1/d sum_k (w M_k^2 + clean_weight / sigma_t) s_k^2,   s_k^2 = p_k sigma^2 / (c_k^2 p_k + sigma^2)
//   hidden  = the share of the k with visibility v_k < 0.1
//
// A training spends its capacity where the loss is, so that these two say which t and which coefficients it serves.
// Ours.
#pragma once

#include "core/diffusion/linear_filter.hpp"
#include "core/diffusion/objective.hpp"

namespace sdpipe {

struct LossShare {
  double t = 0, loss = 0;
  std::optional<double> hidden;  // none where C_t is diagonal neither in the DCT nor in pixels
};

class LossProfile {
 public:
  // Borrows process and data. Throws RunError as Objective does.
  LossProfile(const Process& process, const DataCalibration& data, const ObjectiveOptions& options, uint64_t seed);
  // In [t_min, 1]. A mean over up to 64 keys of the calibration images, and for M = C_s over 8 values of s. Without a
  // basis: of the estimate by conjugate gradients, over the first batch of images, with noise by `seed`.
  LossShare at(double t) const;
  Basis basis() const { return filter_.basis(); }

 private:
  LossShare in_basis(double t) const;
  double by_gradients(double t) const;
  const Process& process_;
  const DataCalibration& data_;
  ObjectiveOptions options_;
  Objective objective_;
  uint64_t seed_;
  LinearFilter filter_;
};

}  // namespace sdpipe
