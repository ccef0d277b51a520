// Sampling: from x_1 along the nodes t = 1, (N-1)/N, ..., 1/N with the sampler's steps, and a last denoise at 1/N.
#pragma once

#include <functional>

#include "core/diffusion/parametrisation.hpp"

namespace sdpipe {

// x0_hat = E[x_0 | x_t] as a network or an exact model estimates it: x_t + f(x_t, t), or what parametrisation.hpp says.
// What restores images (restoration.hpp) corrects it, so that every sampler can be used for that too.
class Denoiser {
 public:
  Denoiser(const Model& model, const ParamSet& params, const Process& process, Parametrisation parametrisation = {})
      : model_(model), params_(params), process_(process), parametrisation_(std::move(parametrisation)) {}
  virtual ~Denoiser() = default;
  virtual at::Tensor x0_hat(const Points& at, const at::Tensor& x_t) const;
  const Process& process() const { return process_; }

 protected:
  const Model& model_;
  const ParamSet& params_;
  const Process& process_;
  Parametrisation parametrisation_;
};

// The N times of a run with N steps, increasing, the last is 1. `spacing` = "uniform": k/N; "log_sigma" and "rho" (7):
// log sigma or sigma^(1/7) in equal steps from t = 0, without t = 0 itself. With `t_min` > 0 the first of the N times
// is t_min, and the steps from it to 1 are equal in the same sense. Throws RunError where sigma does not rise strictly
// (or starts at 0, for log_sigma).
std::vector<double> sampling_nodes(const Path& path, int64_t steps, const std::string& spacing = "uniform",
                                   double t_min = 0);
// By [sample]'s steps, spacing and t_min.
std::vector<double> sampling_nodes(const Path& path, const Settings& sample);

struct TrajectoryOptions {
  std::vector<double> nodes;  // increasing; the last is the start
  uint64_t seed = 0;
  bool clamp = false;        // x0_hat to [-1, 1]
  bool last_denoise = true;  // the result is x0_hat at nodes[0], not x there
  const std::atomic<bool>* cancel = nullptr;
  std::function<void(int64_t done, int64_t total)> progress;
  std::function<bool(uint32_t step, uint32_t draw, at::Tensor& out)> replace_noise;  // tests: see RandomScope
};

struct Trajectory {
  at::Tensor x;     // the samples
  int64_t nfe = 0;  // calls of the denoiser, each for the whole batch
};

// `sample` numbers the trajectories: the noise of each depends on its number, not on its place in the batch.
Trajectory run_trajectory(const Denoiser& denoiser, const Sampler& sampler, const at::Tensor& x_1,
                          const std::vector<uint64_t>& keys, std::span<const uint64_t> sample,
                          const TrajectoryOptions& options);

}  // namespace sdpipe
