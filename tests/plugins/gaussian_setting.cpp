#include "tests/plugins/gaussian_setting.hpp"

#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <numeric>
#include <stdexcept>

namespace sdpipe::testing {

const SampleShape small_sample = {1, 3, 4};

GaussianSetting::GaussianSetting(std::shared_ptr<const Corruption> corruption, Path path, const SampleShape& shape,
                                 const std::string& wiener)
    : sample(shape),
      process(std::move(corruption), std::move(path)),
      model(plugin("wiener"), settings(plugin("wiener"), wiener), shape),
      params(storage(model)) {
  model.init(params, 0);
}

Points GaussianSetting::at(double t, int64_t batch) const {
  return process.at(t, std::vector<uint64_t>(static_cast<size_t>(batch), key));
}

Path make_path(double level_max, const std::string& schedule, const std::string& schedule_toml,
               const std::string& noise, const std::string& noise_toml) {
  return {levels(schedule, schedule_toml, TestData(level_max)), sigmas(noise, noise_toml)};
}

Path make_path(double level_max, const std::string& coupled, const std::string& toml) {
  std::vector<double> level, sigma;
  Schedule(plugin(coupled), settings(plugin(coupled), toml)).select(TestData(level_max), path_points, &level, &sigma);
  return {level, sigma};
}

std::shared_ptr<const Corruption> composition(const std::vector<std::pair<std::string, std::string>>& operators,
                                              const SampleShape& sample) {
  std::vector<Settings> tables;
  for (const auto& [id, toml] : operators) tables.push_back(settings(plugin(id), toml));
  std::vector<CorruptionPart> parts;
  for (size_t i = 0; i < operators.size(); ++i) parts.push_back({&plugin(operators[i].first), &tables[i]});
  return make_corruption(parts, sample);
}

GaussianSetting blurred() {
  const SampleShape sample = {1, 16, 16};
  return {corruption("heat_blur", "std_max = 4.0", sample),
          make_path(4.0, "linear", "power = 2.0", "geometric", "saturation = 1.0"), sample};
}

GaussianSetting noise_only() {
  const SampleShape sample = {1, 16, 16};
  return {corruption("identity", "", sample),
          make_path(1.0, "linear", "", "geometric", "sigma_max = 5.0\nsaturation = 1.0"), sample};
}

GaussianSetting correlated(std::shared_ptr<const Corruption> corruption) {
  const double level_max = corruption->level_max();
  return {std::move(corruption), make_path(level_max, "linear", "", "geometric", "saturation = 1.0"), small_sample,
          "basis = \"dense\""};
}

SamplerChoice by_default(const std::string& id) {
  const bool deterministic = id == "ddim" || id == "heun" || id == "multistep" || id == "euler";
  return {id, "", deterministic ? 0u : 1u, id == "multistep" || id == "ancestral_multistep"};
}

std::vector<double> nodes_to_zero(int64_t steps) {
  std::vector<double> nodes;
  for (int64_t k = 0; k <= steps; ++k) nodes.push_back(static_cast<double>(k) / static_cast<double>(steps));
  return nodes;
}

Trajectory run(const GaussianSetting& g, const SamplerChoice& choice, const at::Tensor& x_1,
               const std::vector<double>& nodes, ReplaceNoise noise) {
  const Sampler sampler(plugin(choice.id), settings(plugin(choice.id), choice.toml));
  std::vector<uint64_t> numbers(static_cast<size_t>(x_1.size(0)));
  std::iota(numbers.begin(), numbers.end(), uint64_t{0});
  TrajectoryOptions options;
  options.nodes = nodes;
  options.last_denoise = false;
  options.replace_noise = std::move(noise);
  const std::vector<uint64_t> keys(numbers.size(), g.key);
  return run_trajectory(g.denoiser(), sampler, x_1, keys, numbers, options);
}

at::Tensor known_noise(uint32_t step, uint32_t draw, const at::Tensor& like) {
  return noise(like.sizes().vec(), 1000 + 50 * step + draw, like.scalar_type());
}

bool use_known_noise(uint32_t step, uint32_t draw, at::Tensor& out) {
  out.copy_(known_noise(step, draw, out));
  return true;
}

namespace {

int64_t elements(const SampleShape& sample) {
  return std::accumulate(sample.begin(), sample.end(), int64_t{1}, std::multiplies<>());
}

// What becomes of the images `start` and, for each draw of each step, of the images `unit` as its noise.
at::Tensor responses(const GaussianSetting& g, const SamplerChoice& sampler, const std::vector<double>& nodes,
                     const at::Tensor& start, const at::Tensor& unit) {
  const int64_t n = unit.size(0), steps = static_cast<int64_t>(nodes.size()) - 1;
  std::vector<int64_t> shape = start.sizes().vec();
  shape[0] = n * steps * sampler.draws;
  const at::Tensor x_1 = at::cat({start, at::zeros(shape, at::kDouble)});
  const auto noise = [&](uint32_t step, uint32_t draw, at::Tensor& out) {
    if (draw >= sampler.draws) throw std::logic_error(sampler.id + " drew noise that the test does not know of");
    out.zero_();
    out.narrow(0, start.size(0) + ((step - 1) * sampler.draws + draw) * n, n).copy_(unit);
    return true;
  };
  return run(g, sampler, x_1, nodes, noise).x;
}

// Symmetric positive semidefinite.
at::Tensor square_root(const at::Tensor& m) {
  const auto [value, vector] = at::linalg_eigh(m);
  return at::matmul(vector * value.clamp_min(0).sqrt(), vector.t());
}

// W2^2 = tr A + tr B - 2 tr (A^1/2 B A^1/2)^1/2 between N(0, A) and N(0, B).
double wasserstein(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor root = square_root(a), middle = square_root(at::matmul(at::matmul(root, b), root));
  return std::sqrt(std::max(0.0, (a.trace() + b.trace() - 2 * middle.trace()).item<double>()));
}

// Cov x_t = C_t S C_t^T + sigma_t^2 I
at::Tensor marginal(const GaussianSetting& g, double t) {
  const int64_t d = elements(g.sample);
  const at::Tensor identity = at::eye(d, at::kDouble);
  std::vector<int64_t> shape = g.sample;
  shape.insert(shape.begin(), d);
  const at::Tensor c_t = g.process.corrupt(g.at(t, d), identity.view(shape)).view({d, d}).t();
  const double sigma = g.process.path().sigma(t);
  return at::matmul(at::matmul(c_t, g.params.tensors()[1]), c_t.t()) + identity * (sigma * sigma);
}

}  // namespace

double diagonal_error(const GaussianSetting& g, const SamplerChoice& sampler, int64_t steps) {
  // All coefficients 1: one image carries the response of every coefficient.
  const at::Tensor unit = inverse_dct(at::ones({1, 1, g.sample[1], g.sample[2]}, at::kDouble));
  const at::Tensor p = g.params.tensors()[1], c_1 = dct(g.process.corrupt(g.at(1), unit));
  const double sigma_1 = g.process.path().sigma(1), sigma_0 = g.process.path().sigma(0);
  const at::Tensor start = inverse_dct((c_1 * c_1 * p + sigma_1 * sigma_1).sqrt());
  const at::Tensor response = dct(responses(g, sampler, nodes_to_zero(steps), start, unit));
  return (response.square().sum(0).sqrt() - (p + sigma_0 * sigma_0).sqrt()).square().sum().sqrt().item<double>();
}

double dense_error(const GaussianSetting& g, const SamplerChoice& sampler, int64_t steps) {
  const int64_t d = elements(g.sample);
  std::vector<int64_t> shape = g.sample;
  shape.insert(shape.begin(), d);
  const at::Tensor unit = at::eye(d, at::kDouble).view(shape);
  at::Tensor covariance = marginal(g, 1);
  const auto advance = [&](const std::vector<double>& nodes) {
    const at::Tensor r = responses(g, sampler, nodes, square_root(covariance).view(shape), unit).view({-1, d});
    covariance = at::matmul(r.t(), r);
  };
  const std::vector<double> nodes = nodes_to_zero(steps);
  if (sampler.remembers) {
    advance(nodes);
  } else {  // then each step by itself, which is the same and does not take `steps` times as many images
    for (size_t k = nodes.size() - 1; k > 0; --k) advance({nodes[k - 1], nodes[k]});
  }
  return wasserstein(covariance, marginal(g, 0));
}

}  // namespace sdpipe::testing
