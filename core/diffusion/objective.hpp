// Soft score matching (paper, equation 2) with its gradient in closed form:
//
//   r = M (x0_hat - x_0),   loss = 1/(B d) sum_b w_b |r_b|^2,   g = dloss/dx0_hat = 2 w_b / (B d) M^T r
//
// M = C_t ("corrupted", the paper), I ("clean") or C_s ("next", s = max(t - next_step u, 0)). B samples of d elements.
// The loss is quadratic and C linear, so no graph is recorded: the model's vjp of g is the gradient of the parameters.
#pragma once

#include "core/diffusion/process.hpp"

namespace sdpipe {

enum class Weight { inverse_variance, inverse_sigma, uniform };
enum class LossAt { corrupted, clean, next };

struct ObjectiveOptions {
  Weight weight = Weight::inverse_variance;
  LossAt loss_at = LossAt::corrupted;
  double next_step = 0.25;
  double t_min = 1e-3;
};

ObjectiveOptions objective_options(const Settings& train);

// Everything random in one training step. `first` is the number of images seen before it, `step` the optimiser's.
struct TrainingDraw {
  Points at;    // of C_t
  Points next;  // of C_s; used by loss_at = next alone
  at::Tensor eps;
  std::vector<uint64_t> sample;
};

struct Loss {
  double value = 0;
  at::Tensor gradient;  // with respect to x0_hat, and so to the network's output
};

class Objective {
 public:
  // Throws RunError where an inverse weight meets sigma(t_min) = 0.
  Objective(const Process& process, const ObjectiveOptions& options);
  TrainingDraw draw(const at::Tensor& x_0, uint64_t seed, uint64_t first, uint32_t step) const;
  Loss loss(const TrainingDraw& draw, const at::Tensor& x0_hat, const at::Tensor& x_0) const;

 private:
  at::Tensor weights(const Points& at, const at::Tensor& like) const;
  const Process& process_;
  ObjectiveOptions options_;
};

}  // namespace sdpipe
