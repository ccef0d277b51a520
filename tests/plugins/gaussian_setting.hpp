// Samplers on Gaussian data, where everything is known: with the exact denoiser a sampler without a nonlinear step size
// maps Gaussians to Gaussians, so that the law of its result follows from the responses to the start and to the noise
// of each step, without sampling.
#pragma once

#include <functional>

#include "core/diffusion/trajectory.hpp"
#include "tests/plugins/support.hpp"

namespace sdpipe::testing {

// A corruption, its path, and the exact denoiser of power-law data N(0, S); `wiener` is the body of the model's table.
struct GaussianSetting {
  GaussianSetting(std::shared_ptr<const Corruption> corruption, Path path, const SampleShape& shape,
                  const std::string& wiener = "");
  Denoiser denoiser() const { return Denoiser(model, params, process); }
  Points at(double t, int64_t batch = 1) const;

  SampleShape sample;
  Process process;
  Model model;
  ParamSet params;
  uint64_t key = 0;  // of every trajectory
};

// From one schedule for levels and one for sigma, or from a coupled one.
Path make_path(double level_max, const std::string& schedule, const std::string& schedule_toml,
               const std::string& noise, const std::string& noise_toml);
Path make_path(double level_max, const std::string& coupled, const std::string& toml = "");
std::shared_ptr<const Corruption> composition(const std::vector<std::pair<std::string, std::string>>& operators,
                                              const SampleShape& sample);

// 1 x 16 x 16, level = 4 t^2, sigma = 0.01 10^t; and the same images with noise alone, sigma = 0.01 500^t.
GaussianSetting blurred();
GaussianSetting noise_only();
// 1 x 3 x 4 pixels that are correlated: `operators` mix them, and no basis is diagonal for all of it. sigma = 0.01
// 10^t.
GaussianSetting correlated(std::shared_ptr<const Corruption> corruption);
extern const SampleShape small_sample;

struct SamplerChoice {
  std::string id, toml = "";
  uint32_t draws = 0;      // of noise in each step
  bool remembers = false;  // something of the step before
};
// As those samplers come by default that are linear.
SamplerChoice by_default(const std::string& id);

using ReplaceNoise = std::function<bool(uint32_t step, uint32_t draw, at::Tensor& out)>;

// Down the nodes from x_1 without a last denoise; `noise` says what each step adds.
Trajectory run(const GaussianSetting& g, const SamplerChoice& sampler, const at::Tensor& x_1,
               const std::vector<double>& nodes, ReplaceNoise noise = {});
// 0, 1/steps, ..., 1
std::vector<double> nodes_to_zero(int64_t steps);
// The same standard normal values as noise of every run, for comparisons with a formula.
at::Tensor known_noise(uint32_t step, uint32_t draw, const at::Tensor& like);
bool use_known_noise(uint32_t step, uint32_t draw, at::Tensor& out);

// W2 between the law of the result, from the true marginal at t = 1 on, and the truth at t = 0, N(0, S + sigma_0^2 I).
// Every DCT coefficient by itself, for settings that are diagonal in the DCT; and with whole covariances.
double diagonal_error(const GaussianSetting& g, const SamplerChoice& sampler, int64_t steps);
double dense_error(const GaussianSetting& g, const SamplerChoice& sampler, int64_t steps);

}  // namespace sdpipe::testing
