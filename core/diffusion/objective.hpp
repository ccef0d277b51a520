// Soft score matching (paper, equation 2) with its gradient in closed form:
//
//   e = x0_hat - x_0,   r = M e,   loss = 1/(B d) sum_b (w_b |r_b|^2 + c_b |e_b|^2)
//   g = dloss/dx0_hat = 2/(B d) (w_b M^T r_b + c_b e_b),   c_b = clean_weight / sigma_t
//
// Of a part of a batch, loss and gradient are its share of the sum. The shares of all parts add up to the step's.
//
// M = C_t ("corrupted", the paper), I ("clean") or C_s ("next", s = max(t - next_step u, 0)). B samples of d elements.
// The term of e is ours: with it the minimum is the whole posterior mean, also where M has a null space.
// Where t is not drawn uniformly (see times.hpp), w_b and c_b hold 1/p(t_b) too.
// The loss is quadratic and C linear, so no graph is recorded: the model's vjp of g is the gradient of the parameters.
#pragma once

#include "core/diffusion/process.hpp"
#include "core/diffusion/times.hpp"

namespace sdpipe {

enum class Weight { inverse_variance, inverse_sigma, uniform };
enum class LossAt { corrupted, clean, next };

struct ObjectiveOptions {
  Weight weight = Weight::inverse_sigma;
  LossAt loss_at = LossAt::clean;
  double next_step = 0.25;
  double t_min = 1e-3;
  Times times = Times::uniform;
  int64_t batch = 1;  // images in a step, over which low_discrepancy spreads t
  double clean_weight = 0;
};

ObjectiveOptions objective_options(const Settings& train);

// Everything random in one training step. `first` is the number of images seen before it, `step` the optimiser's.
struct TrainingDraw {
  Points at;    // of C_t
  Points next;  // of C_s; used by loss_at = next alone
  at::Tensor eps;
  std::vector<uint64_t> sample;
  std::vector<Place> place;  // of t in [t_min, 1], and 1/p
  int64_t batch = 0;         // B: images of the whole step, of which these may be a part; 0: these are all
};

struct Loss {
  double value = 0;               // these images' share of the step's loss
  at::Tensor gradient;            // with respect to x0_hat, and so to the network's output
  std::vector<double> of_sample;  // (w(t_b) |r_b|^2 + c(t_b) |e_b|^2) / d, without 1/p(t_b)
};

class Objective {
 public:
  // Throws RunError where an inverse weight or clean_weight > 0 meets sigma(t_min) = 0.
  Objective(const Process& process, const ObjectiveOptions& options);
  // `losses` is what times = importance has measured so far; `batch` as in TrainingDraw, 0: x_0 is all of it.
  TrainingDraw draw(const at::Tensor& x_0, uint64_t seed, uint64_t first, uint32_t step,
                    const LossHistogram& losses = {}, int64_t batch = 0) const;
  Loss loss(const TrainingDraw& draw, const at::Tensor& x0_hat, const at::Tensor& x_0) const;
  // w(t) and c(t), where sigma(t) = sigma.
  double weight(double sigma) const;
  double clean_weight(double sigma) const;
  // Adds a step's losses to the histogram, where times = importance will use them.
  void measure(const TrainingDraw& draw, const Loss& loss, LossHistogram& losses) const;

 private:
  std::vector<Place> places(const std::vector<uint64_t>& sample, uint64_t seed, uint32_t step,
                            const LossHistogram& losses) const;
  const Process& process_;
  ObjectiveOptions options_;
};

}  // namespace sdpipe
