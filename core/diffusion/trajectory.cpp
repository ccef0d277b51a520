#include "core/diffusion/trajectory.hpp"

#include <ATen/TensorOperators.h>
#include <fmt/format.h>

#include <cmath>

namespace sdpipe {

at::Tensor Denoiser::x0_hat(const Points& at, const at::Tensor& x_t) const {
  CallScope scope;
  scope.corruption = &process_.corruption();
  const Preconditioning around = parametrisation_.at(process_, at, x_t);
  return around.x0_hat(x_t, model_.forward({params_, at, scope}, around.input(x_t)));
}

std::vector<double> sampling_nodes(const Path& path, int64_t steps, const std::string& spacing, double t_min) {
  const bool logarithm = spacing == "log_sigma";
  if (spacing != "uniform" && (!path.sigma_rises_strictly() || (logarithm && path.sigma(0) <= 0))) {
    throw RunError(
        fmt::format("sample.spacing = \"{}\" needs a sigma(t) that rises strictly{}; use spacing = \"uniform\"",
                    spacing, logarithm ? " from above 0" : ""));
  }
  constexpr double rho = 7;
  const auto forth = [&](double sigma) { return logarithm ? std::log(sigma) : std::pow(sigma, 1 / rho); };
  const auto back = [&](double value) { return logarithm ? std::exp(value) : std::pow(value, rho); };
  const auto time_at = [&](double share) {
    if (spacing == "uniform") return std::lerp(t_min, 1.0, share);
    return path.time_of_sigma(back(std::lerp(forth(path.sigma(t_min)), forth(path.sigma(1)), share)));
  };
  std::vector<double> nodes;
  for (int64_t k = 1; k < steps; ++k) {
    const double share = t_min > 0 ? static_cast<double>(k - 1) / static_cast<double>(steps - 1)
                                   : static_cast<double>(k) / static_cast<double>(steps);
    nodes.push_back(time_at(share));
  }
  nodes.push_back(1);
  return nodes;
}

std::vector<double> sampling_nodes(const Path& path, const Settings& sample) {
  return sampling_nodes(path, sample.integer("steps"), sample.text("spacing"), sample.real("t_min"));
}

namespace {

class DenoisedPath : public SamplerPath {
 public:
  DenoisedPath(const Denoiser& denoiser, const std::vector<uint64_t>& keys, const TrajectoryOptions& options)
      : denoiser_(denoiser), keys_(keys), options_(options) {}
  const std::vector<double>& nodes() const override { return options_.nodes; }
  at::Tensor denoise(double t, const at::Tensor& x) const override {
    ++nfe_;
    if (options_.cancel && options_.cancel->load()) throw Cancelled();
    at::Tensor x0_hat = denoiser_.x0_hat(process().at(t, keys_), x);
    return options_.clamp ? x0_hat.clamp_(-1, 1) : x0_hat;
  }
  at::Tensor corrupt(double t, const at::Tensor& x) const override {
    return process().corrupt(process().at(t, keys_), x);
  }
  at::Tensor adjoint(double t, const at::Tensor& x) const override {
    return process().adjoint(process().at(t, keys_), x);
  }
  double sigma(double t) const override { return process().path().sigma(t); }
  int64_t nfe() const { return nfe_; }

 private:
  const Process& process() const { return denoiser_.process(); }
  const Denoiser& denoiser_;
  const std::vector<uint64_t>& keys_;
  const TrajectoryOptions& options_;
  mutable int64_t nfe_ = 0;
};

}  // namespace

Trajectory run_trajectory(const Denoiser& denoiser, const Sampler& sampler, const at::Tensor& x_1,
                          const std::vector<uint64_t>& keys, std::span<const uint64_t> sample,
                          const TrajectoryOptions& options) {
  const DenoisedPath path(denoiser, keys, options);
  RandomScope random;
  random.seed = options.seed;
  random.purpose = Purpose::sampler;
  random.sample = sample;
  auto replacement = options.replace_noise;
  if (replacement) random.replacement = &replacement;
  const int64_t total = static_cast<int64_t>(options.nodes.size());
  SamplerRun run(sampler, path, random, x_1.clone(), options.cancel);
  for (int64_t k = total - 1; k > 0; --k) {
    run.step(static_cast<uint32_t>(k));
    if (options.progress) options.progress(total - k, total);
  }
  at::Tensor x = options.last_denoise ? path.denoise(options.nodes.front(), run.x()) : run.x();
  if (options.progress) options.progress(total, total);
  return {std::move(x), path.nfe()};
}

}  // namespace sdpipe
