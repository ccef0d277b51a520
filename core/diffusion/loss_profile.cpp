#include "core/diffusion/loss_profile.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>

namespace sdpipe {
namespace {

constexpr size_t most_keys = 64, next_steps = 8;
constexpr double hidden_below = 0.1;

}  // namespace

LossProfile::LossProfile(const Process& process, const DataCalibration& data, const ObjectiveOptions& options,
                         uint64_t seed)
    : process_(process),
      data_(data),
      options_(options),
      objective_(process, options),
      seed_(seed),
      filter_(LinearFilter::estimate(process, data)) {}

LossShare LossProfile::at(double t) const {
  return filter_.basis() == Basis::none ? LossShare{t, by_gradients(t), std::nullopt} : in_basis(t);
}

LossShare LossProfile::in_basis(double t) const {
  const std::vector<uint64_t>& all = data_.keys(0);
  const std::vector<uint64_t> keys(all.begin(),
                                   all.begin() + static_cast<std::ptrdiff_t>(std::min(all.size(), most_keys)));
  std::vector<int64_t> shape = filter_.mean().sizes().vec();
  shape.insert(shape.begin(), static_cast<int64_t>(keys.size()));
  const at::Tensor like = at::empty(shape, data_.batch(0).options());
  const FilterCoefficients here = filter_.coefficients(process_, process_.at(t, keys), like);
  at::Tensor m_squared = options_.loss_at == LossAt::corrupted ? here.c.square() : at::ones_like(here.c);
  if (options_.loss_at == LossAt::next) {
    m_squared = at::zeros_like(here.c);
    for (size_t i = 0; i < next_steps; ++i) {
      const double u = (static_cast<double>(i) + 0.5) / static_cast<double>(next_steps);
      const Points next = process_.at(std::max(t - options_.next_step * u, 0.0), keys);
      m_squared += filter_.coefficients(process_, next, like).c.square() / static_cast<double>(next_steps);
    }
  }
  const double sigma = process_.path().sigma(t);
  const at::Tensor loss =
      (m_squared * objective_.weight(sigma) + objective_.clean_weight(sigma)) * here.open().square();
  const double whole = loss.sum().item<double>();
  const double hidden = (loss * (here.visibility() < hidden_below)).sum().item<double>();
  return {t, whole / static_cast<double>(loss.numel()), whole > 0 ? hidden / whole : 0};
}

double LossProfile::by_gradients(double t) const {
  const at::Tensor x_0 = data_.batch(0);
  TrainingDraw draw;
  std::vector<double> s;
  for (size_t b = 0; b < data_.keys(0).size(); ++b) {
    const double u = (static_cast<double>(b % next_steps) + 0.5) / static_cast<double>(next_steps);
    s.push_back(std::max(t - options_.next_step * u, 0.0));
    draw.sample.push_back(b);
    draw.place.push_back({t, 1});
  }
  draw.at = process_.at(t, data_.keys(0));
  draw.next = process_.at(std::move(s), data_.keys(0));
  draw.eps =
      normal_like(x_0, seed_, Purpose::calibration, draw.sample, static_cast<uint32_t>(std::lround(t * 1024)), 2);
  const at::Tensor mean = filter_.means_like(x_0);
  const at::Tensor y = process_.noisy(draw.at, x_0 - mean, draw.eps);
  return objective_.loss(draw, mean + filter_.estimate_of(process_, draw.at, y), x_0).value;
}

}  // namespace sdpipe
