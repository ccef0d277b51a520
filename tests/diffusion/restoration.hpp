// An exact model of Gaussian data whose posterior is known, for the tests of restoration.
#pragma once

#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_solve.h>
#include <ATen/ops/matmul.h>

#include <memory>
#include <string>
#include <vector>

#include "core/diffusion/restoration.hpp"
#include "tests/diffusion/setup.hpp"

namespace sdpipe::testing {

inline constexpr ConjugateLimits exact{1e-13, 400};

// The matrix of a corruption for samples of 1 x side x side, at one level and key.
inline at::Tensor matrix_of(const Corruption& c, double level, uint64_t key, int64_t side) {
  const int64_t d = side * side;
  Points at = points(std::vector<double>(static_cast<size_t>(d), level));
  at.key.assign(static_cast<size_t>(d), key);
  return c.apply(at, at::eye(d, at::kDouble).view({d, 1, side, side})).view({d, d}).t().contiguous();
}

inline at::Tensor column(const at::Tensor& x, int64_t b) { return x[b].flatten(); }

// An exact model of Gaussian data, its process, and keys for a batch.
struct Exact {
  explicit Exact(const Text& text, int64_t side = 4, int64_t batch = 3)
      : setup(text, {1, side, side}),
        model(make_model(setup.pipeline, {1, side, side})),
        params(storage(model)),
        denoiser(model, params, setup.process) {
    model.init(params, 0);
    params.changed();
    for (int64_t b = 0; b < batch; ++b) {
      sample.push_back(static_cast<uint64_t>(b));
      keys.push_back(key_of(4, static_cast<uint64_t>(b)));
    }
  }
  Trajectory run(const Denoiser& d, const std::string& sampler, const at::Tensor& x_1, int64_t steps) const {
    TrajectoryOptions options;
    options.nodes = sampling_nodes(setup.process.path(), steps);
    options.seed = 4;
    return run_trajectory(d, made(sampler), x_1, keys, sample, options);
  }
  static Sampler made(const std::string& sampler) {
    const Plugin* p = built_in().find(SDP_KIND_SAMPLER, sampler);
    return Sampler(*p, default_settings(p->schema));
  }

  Setup setup;
  Model model;
  ParamSet params;
  Denoiser denoiser;
  std::vector<uint64_t> sample, keys;
};

struct Case {
  std::string name;
  std::shared_ptr<const Corruption> a;
  double level;
  std::vector<uint64_t> keys;
};

// Mean over pixels of the variance of x_0 given y, for data of variances `power` in the DCT.
inline double posterior_variance(const Case& c, double sigma, const at::Tensor& power) {
  const int64_t side = power.size(-1), d = side * side;
  const at::Tensor one = at::eye(d, at::kDouble);
  const at::Tensor basis = dct(one.view({d, 1, side, side})).view({d, d}).t();
  const at::Tensor prior = at::matmul(basis.t(), basis * power.reshape({d, 1}));
  double sum = 0;
  for (const uint64_t key : c.keys) {
    const at::Tensor m = matrix_of(*c.a, c.level, key, side), seen = at::matmul(m, prior);
    const at::Tensor gain = at::linalg_solve(at::matmul(seen, m.t()) + one * (sigma * sigma), seen);
    sum += (prior - at::matmul(seen.t(), gain)).diagonal().mean().item<double>();
  }
  return sum / static_cast<double>(c.keys.size());
}

}  // namespace sdpipe::testing
