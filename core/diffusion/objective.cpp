#include "core/diffusion/objective.hpp"

#include <ATen/TensorOperators.h>
#include <fmt/format.h>

#include <algorithm>

#include "core/base/random.hpp"

namespace sdpipe {

ObjectiveOptions objective_options(const Settings& train) {
  ObjectiveOptions options;
  const std::string& weight = train.text("weight");
  options.weight = weight == "uniform"         ? Weight::uniform
                   : weight == "inverse_sigma" ? Weight::inverse_sigma
                                               : Weight::inverse_variance;
  const std::string& loss_at = train.text("loss_at");
  options.loss_at = loss_at == "clean" ? LossAt::clean : loss_at == "next" ? LossAt::next : LossAt::corrupted;
  options.next_step = train.real("next_step");
  options.t_min = train.real("t_min");
  return options;
}

Objective::Objective(const Process& process, const ObjectiveOptions& options) : process_(process), options_(options) {
  if (options.weight != Weight::uniform && process.path().sigma(options.t_min) <= 0) {
    throw RunError(fmt::format(
        "train.weight divides by sigma, which is 0 at t_min = {}; raise train.t_min, or set train.weight = \"uniform\"",
        options.t_min));
  }
}

TrainingDraw Objective::draw(const at::Tensor& x_0, uint64_t seed, uint64_t first, uint32_t step) const {
  TrainingDraw draw;
  std::vector<double> t, s;
  std::vector<uint64_t> keys;
  for (uint64_t b = 0; b < static_cast<uint64_t>(x_0.size(0)); ++b) {
    const uint64_t sample = first + b;
    draw.sample.push_back(sample);
    keys.push_back(key_of(seed, sample));
    t.push_back(options_.t_min + (1 - options_.t_min) * random_uniform({seed, Purpose::train_time, sample, step, 0}));
    s.push_back(
        std::max(t.back() - options_.next_step * random_uniform({seed, Purpose::train_time, sample, step, 1}), 0.0));
  }
  draw.at = process_.at(std::move(t), keys);
  draw.next = process_.at(std::move(s), std::move(keys));
  draw.eps = normal_like(x_0, seed, Purpose::train_noise, draw.sample, step);
  return draw;
}

at::Tensor Objective::weights(const Points& at, const at::Tensor& like) const {
  std::vector<double> w;
  for (const double sigma : at.sigma) {
    w.push_back(options_.weight == Weight::inverse_variance ? 1 / (sigma * sigma)
                : options_.weight == Weight::inverse_sigma  ? 1 / sigma
                                                            : 1);
  }
  return per_sample(w, like);
}

Loss Objective::loss(const TrainingDraw& draw, const at::Tensor& x0_hat, const at::Tensor& x_0) const {
  const Points& at = options_.loss_at == LossAt::next ? draw.next : draw.at;
  const bool clean = options_.loss_at == LossAt::clean;
  const at::Tensor error = x0_hat - x_0;
  const at::Tensor r = clean ? error : process_.corrupt(at, error);
  const at::Tensor weighted = weights(draw.at, r) * r;
  const double scale = 1.0 / static_cast<double>(r.numel());  // 1/(B d)
  const double value = scale * (weighted * r).sum(at::kDouble).item<double>();
  return {value, (clean ? weighted : process_.adjoint(at, weighted)) * (2 * scale)};
}

}  // namespace sdpipe
