// What the samplers become where the process is one that others have published: the published update, written down from
// its source, against the plugin on the same start and noise.
#include <ATen/ops/equal.h>

#include <cmath>

#include "tests/plugins/gaussian_setting.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const SampleShape sample = {1, 4, 4};
constexpr double rounding = 1e-12;

GaussianSetting variance_exploding() {
  return {corruption("identity", "", sample),
          make_path(1.0, "linear", "", "geometric", "sigma_max = 5.0\nsaturation = 1.0"), sample};
}
// x_t = a_t x_0 + sqrt(1 - a_t^2) eps
GaussianSetting variance_preserving() { return {corruption("scale", "", sample), make_path(1.0, "vp"), sample}; }
// x_t = (1 - t) x_0 + t eps
GaussianSetting flow() { return {corruption("scale", "", sample), make_path(1.0, "flow"), sample}; }
// A blur that can be undone in float64, and one sigma for all t.
GaussianSetting cold(double sigma) {
  return {corruption("heat_blur", "std_max = 0.5", sample),
          Path(levels("linear", "", TestData(0.5)), std::vector<double>(path_points, sigma)), sample};
}

at::Tensor start() { return noise({2, 1, 4, 4}, 3); }

struct Moment {
  const GaussianSetting& g;
  uint32_t k;
  double t, s;
  at::Tensor x;
  double sigma_t() const { return g.process.path().sigma(t); }
  double sigma_s() const { return g.process.path().sigma(s); }
  at::Tensor x0_hat() const { return x0_hat(t, x); }
  at::Tensor x0_hat(double time, const at::Tensor& at_time) const {
    return g.denoiser().x0_hat(g.at(time, x.size(0)), at_time);
  }
  at::Tensor corrupt(double time, const at::Tensor& image) const {
    return g.process.corrupt(g.at(time, x.size(0)), image);
  }
  // Equation 3 of Soft Diffusion for C = I.
  at::Tensor score() const { return (x0_hat() - x) / (sigma_t() * sigma_t()); }
  at::Tensor z() const { return known_noise(k, 0, x); }
};

// Where a published update leads to, from node to node.
at::Tensor follow(const GaussianSetting& g, const std::vector<double>& nodes,
                  const std::function<at::Tensor(const Moment&)>& update) {
  at::Tensor x = start();
  for (size_t k = nodes.size() - 1; k > 0; --k) x = update({g, static_cast<uint32_t>(k), nodes[k], nodes[k - 1], x});
  return x;
}

void require_equal(const GaussianSetting& g, const SamplerChoice& sampler, const std::vector<double>& nodes,
                   const std::function<at::Tensor(const Moment&)>& update) {
  const at::Tensor x = run(g, sampler, start(), nodes, use_known_noise).x;
  CHECK(largest_difference(x, follow(g, nodes, update)) < rounding);
}

}  // namespace

TEST_CASE("momentum for C = I is the reverse-diffusion predictor of the variance-exploding process") {
  // Song et al. (arXiv 2011.13456), Algorithm 2, predictor
  require_equal(variance_exploding(), {"momentum"}, nodes_to_zero(6), [](const Moment& m) {
    const double g2 = m.sigma_t() * m.sigma_t() - m.sigma_s() * m.sigma_s();
    return m.x + g2 * m.score() + std::sqrt(g2) * m.z();
  });
}

TEST_CASE("ancestral for C = I is ancestral sampling of the variance-exploding process") {
  // Song et al. (arXiv 2011.13456), appendix F, ancestral sampling for SMLD models
  require_equal(variance_exploding(), {"ancestral"}, nodes_to_zero(6), [](const Moment& m) {
    const double t2 = m.sigma_t() * m.sigma_t(), s2 = m.sigma_s() * m.sigma_s();
    return m.x + (t2 - s2) * m.score() + std::sqrt(s2 * (t2 - s2) / t2) * m.z();
  });
}

TEST_CASE("ddim for C = I is DDIM of the variance-exploding process") {
  // Song, Meng, Ermon (arXiv 2010.02502), equation 13 with alpha = 1: a step in sigma along eps
  require_equal(variance_exploding(), {"ddim"}, nodes_to_zero(6), [](const Moment& m) {
    const at::Tensor eps = (m.x - m.x0_hat()) / m.sigma_t();
    return m.x + (m.sigma_s() - m.sigma_t()) * eps;
  });
}

TEST_CASE("ddim under scale and vp is DDIM of the variance-preserving process") {
  const GaussianSetting g = variance_preserving();
  const auto a = [&](double t) { return 1 - g.process.path().level(t); };
  const std::vector<double> nodes = {0, 0.1, 0.35, 0.6,
                                     0.95};  // at t = 1 nothing is left of x_0, and DDIM divides by a
  const auto eps = [&](const Moment& m) { return (m.x - a(m.t) * m.x0_hat()) / m.sigma_t(); };
  // Equation 12 with sigma = 0, in the paper's alpha = a^2.
  require_equal(g, {"ddim"}, nodes, [&](const Moment& m) {
    return a(m.s) * ((m.x - m.sigma_t() * eps(m)) / a(m.t)) + m.sigma_s() * eps(m);
  });
  // Equation 13: Euler's method for the rescaled x / a, in sigma / a.
  require_equal(g, {"ddim"}, nodes, [&](const Moment& m) {
    return a(m.s) * (m.x / a(m.t) + (m.sigma_s() / a(m.s) - m.sigma_t() / a(m.t)) * eps(m));
  });
  CHECK(a(0.6) == Approx(std::cos(0.3 * M_PI)).margin(1e-5));
  CHECK(a(0.6) * a(0.6) + std::pow(g.process.path().sigma(0.6), 2) == Approx(1).margin(1e-5));
}

TEST_CASE("ddim under scale and flow is Euler's method for flow matching") {
  // x_t = (1 - t) x_0 + t eps (arXiv 2210.02747, 2209.03003): dx/dt = v = E[eps - x_0 | x_t]
  require_equal(flow(), {"ddim"}, nodes_to_zero(6), [](const Moment& m) {
    const at::Tensor x0_hat = m.x0_hat(), eps_hat = (m.x - (1 - m.t) * x0_hat) / m.t;
    return m.x + (m.s - m.t) * (eps_hat - x0_hat);
  });
}

TEST_CASE("multistep in log_sigma under noise alone is DPM-Solver++(2M)") {
  at::Tensor x0_hat_prev;
  double h_prev = 0;
  // Lu et al. (arXiv 2211.01095), Algorithm 2, with lambda = -log sigma
  require_equal(variance_exploding(), {"multistep", "variable = \"log_sigma\""}, {0, 0.15, 0.3, 0.55, 0.7, 1},
                [&](const Moment& m) {
                  const double h = std::log(m.sigma_t() / m.sigma_s()), r = h_prev / h;
                  const at::Tensor x0_hat = m.x0_hat();
                  const at::Tensor d = h_prev > 0 ? x0_hat * (1 + 1 / (2 * r)) - x0_hat_prev * (1 / (2 * r)) : x0_hat;
                  x0_hat_prev = x0_hat;
                  h_prev = h;
                  return m.x * std::exp(-h) - d * std::expm1(-h);
                });
}

TEST_CASE("without noise, naive and momentum are the algorithms of Cold Diffusion, and so is momentum at one sigma") {
  // Bansal et al. (arXiv 2208.09392), Algorithms 1 and 2
  const auto algorithm_2 = [](const Moment& m) {
    const at::Tensor x0_hat = m.x0_hat();
    return m.x - m.corrupt(m.t, x0_hat) + m.corrupt(m.s, x0_hat);
  };
  require_equal(cold(0), {"naive"}, nodes_to_zero(4), [](const Moment& m) { return m.corrupt(m.s, m.x0_hat()); });
  require_equal(cold(0), {"momentum"}, nodes_to_zero(4), algorithm_2);
  require_equal(cold(0.1), {"momentum"}, nodes_to_zero(4), algorithm_2);
}

TEST_CASE("churn for C = I raises the noise as EDM does, and goes down by its Euler step") {
  // Karras et al. (arXiv 2206.00364), Algorithm 2, lines 5, 6 and 7 to 8
  const GaussianSetting g = variance_exploding();
  require_equal(g, {"churn"}, nodes_to_zero(6), [&](const Moment& m) {
    const double raised = std::min(m.t + 0.5 / 6, 1.0), sigma_hat = g.process.path().sigma(raised);
    const at::Tensor x_hat = m.x + std::sqrt(sigma_hat * sigma_hat - m.sigma_t() * m.sigma_t()) * m.z();
    const at::Tensor d = (x_hat - m.x0_hat(raised, x_hat)) / sigma_hat;
    return x_hat + (m.sigma_s() - sigma_hat) * d;
  });
}

TEST_CASE("where sigma is constant, samplers with noise are their deterministic ones bit for bit and draw none") {
  const auto no_noise = [](uint32_t, uint32_t, at::Tensor&) -> bool { throw std::logic_error("drew noise"); };
  const auto result = [&](const GaussianSetting& g, const SamplerChoice& sampler) {
    return run(g, sampler, start(), nodes_to_zero(8), no_noise).x;
  };
  for (const double sigma : {0.1, 0.0}) {
    const GaussianSetting g = cold(sigma);
    CHECK(at::equal(result(g, {"momentum"}), result(g, {"ddim"})));
    CHECK(at::equal(result(g, {"ancestral"}), result(g, {"ddim"})));
    CHECK(at::equal(result(g, {"ancestral_multistep"}), result(g, {"multistep"})));
  }
}
