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
  const std::string& times = train.text("times");
  options.times = times == "importance"        ? Times::importance
                  : times == "low_discrepancy" ? Times::low_discrepancy
                                               : Times::uniform;
  options.batch = train.integer("batch");
  options.clean_weight = train.real("clean_weight");
  return options;
}

Objective::Objective(const Process& process, const ObjectiveOptions& options) : process_(process), options_(options) {
  const bool weight = options.weight != Weight::uniform, clean = options.clean_weight > 0;
  if (!(weight || clean) || process.path().sigma(options.t_min) > 0) return;
  const char* const both = weight && clean ? " and " : "";
  throw RunError(fmt::format("{}{}{} {} by sigma, which is 0 at t_min = {}; raise train.t_min, or set {}{}{}",
                             weight ? "train.weight" : "", both, clean ? "train.clean_weight" : "",
                             weight && clean ? "divide" : "divides", options.t_min,
                             weight ? "train.weight = \"uniform\"" : "", both, clean ? "train.clean_weight = 0" : ""));
}

std::vector<Place> Objective::places(const std::vector<uint64_t>& sample, uint64_t seed, uint32_t step,
                                     const LossHistogram& losses) const {
  const auto uniform = [&](uint64_t of, uint32_t draw) {
    return random_uniform({seed, Purpose::train_time, of, step, draw});
  };
  std::vector<Place> places;
  if (options_.times == Times::low_discrepancy) {
    const uint64_t n = static_cast<uint64_t>(options_.batch);
    const double offset = uniform(0, 2);
    for (const uint64_t b : sample) {
      const double place = offset + static_cast<double>(b % n) / static_cast<double>(n);
      places.push_back({place < 1 ? place : place - 1, 1});
    }
    return places;
  }
  const std::vector<double> p = losses.probabilities();
  for (const uint64_t b : sample) {
    const double u = uniform(b, 0);
    places.push_back(options_.times == Times::importance ? place_of(u, p) : Place{u, 1});
  }
  return places;
}

TrainingDraw Objective::draw(const at::Tensor& x_0, uint64_t seed, uint64_t first, uint32_t step,
                             const LossHistogram& losses, int64_t batch) const {
  TrainingDraw draw;
  draw.batch = batch > 0 ? batch : x_0.size(0);
  std::vector<uint64_t> keys;
  for (uint64_t b = 0; b < static_cast<uint64_t>(x_0.size(0)); ++b) {
    draw.sample.push_back(first + b);
    keys.push_back(key_of(seed, first + b));
  }
  draw.place = places(draw.sample, seed, step, losses);
  std::vector<double> t, s;
  for (size_t b = 0; b < draw.sample.size(); ++b) {
    const double u = random_uniform({seed, Purpose::train_time, draw.sample[b], step, 1});
    t.push_back(options_.t_min + (1 - options_.t_min) * draw.place[b].at);
    s.push_back(std::max(t.back() - options_.next_step * u, 0.0));
  }
  draw.at = process_.at(std::move(t), keys);
  draw.next = process_.at(std::move(s), std::move(keys));
  draw.eps = normal_like(x_0, seed, Purpose::train_noise, draw.sample, step);
  return draw;
}

double Objective::weight(double sigma) const {
  return options_.weight == Weight::inverse_variance ? 1 / (sigma * sigma)
         : options_.weight == Weight::inverse_sigma  ? 1 / sigma
                                                     : 1;
}

double Objective::clean_weight(double sigma) const {
  return options_.clean_weight > 0 ? options_.clean_weight / sigma : 0;
}

Loss Objective::loss(const TrainingDraw& draw, const at::Tensor& x0_hat, const at::Tensor& x_0) const {
  const Points& at = options_.loss_at == LossAt::next ? draw.next : draw.at;
  const bool clean = options_.loss_at == LossAt::clean;
  const at::Tensor error = x0_hat - x_0;
  const at::Tensor r = clean ? error : process_.corrupt(at, error);
  const auto over_samples = [&](auto of_sigma) {  // / p(t_b)
    std::vector<double> w;
    for (size_t b = 0; b < draw.place.size(); ++b) w.push_back(draw.place[b].weight * of_sigma(draw.at.sigma[b]));
    return per_sample(w, r);
  };
  const at::Tensor weighted = over_samples([&](double sigma) { return weight(sigma); }) * r;
  at::Tensor of_element = weighted * r, gradient = clean ? weighted : process_.adjoint(at, weighted);
  if (options_.clean_weight > 0) {
    const at::Tensor clean_weighted = over_samples([&](double sigma) { return clean_weight(sigma); }) * error;
    of_element = of_element + clean_weighted * error;
    gradient = gradient + clean_weighted;
  }
  const at::Tensor sums = of_element.flatten(1).sum(at::IntArrayRef{1}, false, at::kDouble).cpu();
  const double batch = static_cast<double>(draw.batch > 0 ? draw.batch : r.size(0)),
               size = static_cast<double>(r.numel() / r.size(0));
  Loss loss;
  for (size_t b = 0; b < draw.place.size(); ++b) {
    const double of_sample = sums.const_data_ptr<double>()[b] / size;
    loss.value += of_sample / batch;
    loss.of_sample.push_back(of_sample / draw.place[b].weight);
  }
  loss.gradient = gradient * (2 / (batch * size));
  return loss;
}

void Objective::measure(const TrainingDraw& draw, const Loss& loss, LossHistogram& losses) const {
  if (options_.times != Times::importance) return;
  for (size_t b = 0; b < draw.place.size(); ++b) losses.record(draw.place[b].at, loss.of_sample[b]);
}

}  // namespace sdpipe
