// Theorem 3.1 of the paper on Gaussian data, without sampling: x_0 ~ N(mu, S), x_t = C x_0 + sigma eps, a linear
// network x0_hat = A x_t + b, and so every expectation a trace.
//
//   score matching   J1 = sigma^2 E |(C x0_hat - x_t)/sigma^2 - grad log q_t(x_t)|^2
//   equation 2       J2 = 1/sigma^2 E |C (x0_hat - x_0)|^2
//   theorem          J1 - J2 = sigma^2 E |grad log q_t|^2 - d, whatever the network
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/linalg_cholesky.h>
#include <ATen/ops/linalg_inv.h>
#include <ATen/ops/linalg_pinv.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "core/diffusion/objective.hpp"
#include "core/diffusion/trajectory.hpp"
#include "tests/diffusion/setup.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

constexpr int64_t d = 16;
constexpr uint64_t key = 7;

at::Tensor as_images(const at::Tensor& rows) { return rows.reshape({-1, 1, 4, 4}).contiguous(); }
at::Tensor as_rows(const at::Tensor& images) { return images.reshape({-1, d}); }
double trace_of(const at::Tensor& m, const at::Tensor& covariance) {  // tr(m covariance m^T)
  return (at::matmul(m, covariance) * m).sum().item<double>();
}
double square(const at::Tensor& v) { return v.square().sum().item<double>(); }

// Correlated data: no direction and no pixel is independent of another.
struct GaussianData {
  at::Tensor mu = noise({d}, 31), s;
  GaussianData() {
    const at::Tensor g = noise({d, d}, 32);
    s = at::matmul(g, g.t()) / double(d) + 0.05 * at::eye(d, at::kDouble);
  }
};

struct LinearNetwork {
  at::Tensor a, b;
  at::Tensor x0_hat(const at::Tensor& x) const { return as_images(at::matmul(as_rows(x), a.t()) + b); }
};

LinearNetwork random_network(uint64_t seed) { return {noise({d, d}, 100 + seed), noise({d}, 200 + seed)}; }

// One corruption at one time, with its matrix read off the plugin column by column.
struct At {
  At(const Process& process, double t, int64_t n) : points(process.at(t, std::vector<uint64_t>(size_t(n), key))) {
    const Points columns = process.at(t, std::vector<uint64_t>(size_t(d), key));
    c = as_rows(process.corrupt(columns, as_images(at::eye(d, at::kDouble)))).t().contiguous();
    sigma = columns.sigma[0];
  }
  at::Tensor marginal_covariance(const GaussianData& x_0) const {
    return at::matmul(at::matmul(c, x_0.s), c.t()) + sigma * sigma * at::eye(d, at::kDouble);
  }
  Points points;
  at::Tensor c;
  double sigma;
};

double score_matching(const GaussianData& x_0, const At& at, const LinearNetwork& f) {
  const at::Tensor m = at::matmul(at.c, x_0.mu), v = at.marginal_covariance(x_0), inverse = at::linalg_inv(v);
  const at::Tensor one = at::eye(d, at::kDouble);
  // sigma (score of the network - true score) = r x_t + constant
  const at::Tensor r = (at::matmul(at.c, f.a) - one) / at.sigma + at.sigma * inverse;
  const at::Tensor constant = at::matmul(at.c, f.b) / at.sigma - at.sigma * at::matmul(inverse, m);
  return trace_of(r, v) + square(at::matmul(r, m) + constant);
}

double equation_2(const GaussianData& x_0, const At& at, const LinearNetwork& f) {
  const at::Tensor of_x_0 = at::matmul(at.c, at::matmul(f.a, at.c) - at::eye(d, at::kDouble));
  const at::Tensor of_eps = at.sigma * at::matmul(at.c, f.a);
  const at::Tensor mean = at::matmul(of_x_0, x_0.mu) + at::matmul(at.c, f.b);
  return (trace_of(of_x_0, x_0.s) + square(of_eps) + square(mean)) / (at.sigma * at.sigma);
}

// Points (x_0, eps) whose mean and covariance are exactly those of the data and of standard normal noise: the mean of a
// quadratic over them is its expectation.
struct Design {
  static constexpr int64_t n = 4 * d;
  at::Tensor x_0, eps;
  explicit Design(const GaussianData& data) {
    const at::Tensor zero = at::zeros({d, d}, at::kDouble);
    const at::Tensor x = std::sqrt(2.0 * d) * at::cat({at::linalg_cholesky(data.s).t(), zero});
    const at::Tensor e = std::sqrt(2.0 * d) * at::cat({zero, at::eye(d, at::kDouble)});
    x_0 = as_images(at::cat({x, -x}) + data.mu);
    eps = as_images(at::cat({e, -e}));
  }
};

// The host's own loss and gradient on the design, all samples at one time.
class DesignLoss {
 public:
  DesignLoss(const Process& process, LossAt loss_at, const GaussianData& data, double t, double clean_weight = 0,
             const Parametrisation& parametrisation = {})
      : objective_(process, {Weight::inverse_variance, loss_at, 0.25, 1e-3, Times::uniform, 1, clean_weight}),
        design_(data),
        is_residual_(parametrisation.name() == "residual") {
    draw_ = objective_.draw(design_.x_0, 1, 0, 0);
    draw_.at = At(process, t, Design::n).points;
    x_t_ = process.noisy(draw_.at, design_.x_0, design_.eps);
    around_ = parametrisation.at(process, draw_.at, x_t_);
  }
  double value(const LinearNetwork& f) const { return loss(f).value; }
  // With respect to (A, b), flat.
  at::Tensor gradient(const LinearNetwork& f) const {
    const at::Tensor inputs = at::cat({as_rows(around_.input(x_t_)), at::ones({Design::n, 1}, at::kDouble)}, 1);
    return at::matmul(as_rows(around_.to_output(loss(f).gradient)).t(), inputs).flatten();
  }

 private:
  // Without a parametrisation the linear network is x0_hat itself.
  Loss loss(const LinearNetwork& f) const { return objective_.loss(draw_, x0_hat(f), design_.x_0); }
  at::Tensor x0_hat(const LinearNetwork& f) const {
    const at::Tensor output = f.x0_hat(around_.input(x_t_));
    return is_residual_ ? output : around_.x0_hat(x_t_, output);
  }
  Objective objective_;
  Design design_;
  TrainingDraw draw_;
  at::Tensor x_t_;
  Preconditioning around_;
  bool is_residual_;
};

LinearNetwork network_of(const at::Tensor& theta) {
  const at::Tensor both = theta.view({d, d + 1});
  return {both.slice(1, 0, d), both.slice(1, d, d + 1).flatten()};
}

// The gradient is affine in (A, b), so its zero of least norm follows from its columns.
LinearNetwork minimum(const DesignLoss& loss) {
  const int64_t size = d * (d + 1);
  const at::Tensor at_zero = loss.gradient(network_of(at::zeros({size}, at::kDouble)));
  const at::Tensor units = at::eye(size, at::kDouble);
  std::vector<at::Tensor> columns;
  for (int64_t i = 0; i < size; ++i) columns.push_back(loss.gradient(network_of(units[i])) - at_zero);
  const at::Tensor hessian = at::stack(columns, 1);
  return network_of(-at::matmul(at::linalg_pinv(hessian, 1e-14, /*hermitian=*/true), at_zero));
}

Text with(const std::string& corruption) {
  Text text;
  text.corruption = "[corruption]\n" + corruption + "\n";
  text.model = "[model]\ntype = \"wiener\"\nbasis = \"dense\"\n";
  return text;
}

const char* const corruptions[] = {"type = \"heat_blur\"\nstd_max = 1.2", "type = \"pixel_mask\"\nfraction_max = 0.8",
                                   "type = \"soft_mask\""};
constexpr double times[] = {0.1, 0.4, 0.7, 1.0};

}  // namespace

TEST_CASE("score matching and the denoising loss differ by a constant that no network changes") {
  const GaussianData data;
  for (const char* corruption : corruptions) {
    const Setup setup(with(corruption));
    for (const double t : times) {
      const At at(setup.process, t, 1);
      const double constant =
          at.sigma * at.sigma * at::linalg_inv(at.marginal_covariance(data)).trace().item<double>() - double(d);
      CAPTURE(corruption, t, constant);
      for (uint64_t seed = 0; seed < 20; ++seed) {
        const LinearNetwork f = random_network(seed);
        const double j1 = score_matching(data, at, f), j2 = equation_2(data, at, f);
        CHECK(j1 - j2 == Approx(constant).margin(1e-12 * (j1 + j2)));
      }
    }
  }
}

TEST_CASE("the loss that training computes has the expectation of equation 2") {
  const GaussianData data;
  for (const char* corruption : corruptions) {
    const Setup setup(with(corruption));
    for (const double t : times) {
      const At at(setup.process, t, 1);
      const DesignLoss loss(setup.process, LossAt::corrupted, data, t);
      CAPTURE(corruption, t);
      for (uint64_t seed = 0; seed < 5; ++seed) {
        const LinearNetwork f = random_network(seed);
        CHECK(loss.value(f) == Approx(equation_2(data, at, f) / double(d)).epsilon(1e-12));
      }
    }
  }
}

TEST_CASE("the minimum of the loss is the posterior mean: as C_t sees it under C_t, and whole under the identity") {
  const GaussianData data;
  for (const char* corruption : corruptions) {
    const Setup setup(with(corruption));
    const Model model = make_model(setup.pipeline, {1, 4, 4});
    const ParamSet params({data.mu.view({1, 4, 4}).clone(), data.s.clone()});
    const Denoiser wiener(model, params, setup.process);
    const at::Tensor x = noise({6, 1, 4, 4}, 33);
    for (const double t : times) {
      CAPTURE(corruption, t);
      const Points points = At(setup.process, t, 6).points;
      const at::Tensor expected = wiener.x0_hat(points, x);
      const at::Tensor seen = minimum(DesignLoss(setup.process, LossAt::corrupted, data, t)).x0_hat(x);
      CHECK(largest_difference(setup.process.corrupt(points, seen), setup.process.corrupt(points, expected)) < 1e-7);
      const at::Tensor clean = minimum(DesignLoss(setup.process, LossAt::clean, data, t)).x0_hat(x);
      CHECK(largest_difference(clean, expected) < 1e-10);
    }
  }
}

TEST_CASE("with a clean term the minimum is the whole posterior mean, also where C_t is singular") {
  const GaussianData data;
  for (const char* corruption : corruptions) {
    const Setup setup(with(corruption));
    const Model model = make_model(setup.pipeline, {1, 4, 4});
    const ParamSet params({data.mu.view({1, 4, 4}).clone(), data.s.clone()});
    const Denoiser wiener(model, params, setup.process);
    const at::Tensor x = noise({6, 1, 4, 4}, 33);
    for (const double t : times) {
      const at::Tensor expected = wiener.x0_hat(At(setup.process, t, 6).points, x);
      for (const double clean_weight : {0.01, 1.0}) {
        CAPTURE(corruption, t, clean_weight);
        const LinearNetwork f = minimum(DesignLoss(setup.process, LossAt::corrupted, data, t, clean_weight));
        CHECK(largest_difference(f.x0_hat(x), expected) < 1e-9);
      }
    }
  }
}

TEST_CASE("the minimum is the posterior mean whatever the parametrisation") {
  const GaussianData data;
  for (const char* corruption : corruptions) {
    const Setup setup(with(corruption));
    const Model model = make_model(setup.pipeline, {1, 4, 4});
    const ParamSet params({data.mu.view({1, 4, 4}).clone(), data.s.clone()});
    const Denoiser wiener(model, params, setup.process);
    const at::Tensor x = noise({6, 1, 4, 4}, 33);
    const MemorySource source(noise({40, 1, 4, 4}, 36));
    const DataCalibration images(source, *setup.corruption, at::TensorOptions(at::kDouble), 40, 40, 1);
    for (const char* name : {"scaled", "linear"}) {
      const Parametrisation parametrisation = Parametrisation::estimate(name, setup.process, images, 1);
      for (const double t : times) {
        CAPTURE(corruption, name, t);
        const Points points = At(setup.process, t, 6).points;
        const at::Tensor expected = wiener.x0_hat(points, x);
        const Preconditioning around = parametrisation.at(setup.process, points, x);
        const auto minimised = [&](LossAt loss_at) {
          const LinearNetwork f = minimum(DesignLoss(setup.process, loss_at, data, t, 0, parametrisation));
          return around.x0_hat(x, f.x0_hat(around.input(x)));
        };
        const at::Tensor seen = minimised(LossAt::corrupted);
        CHECK(largest_difference(setup.process.corrupt(points, seen), setup.process.corrupt(points, expected)) < 1e-7);
        CHECK(largest_difference(minimised(LossAt::clean), expected) < 1e-7);
      }
    }
  }
}

TEST_CASE("under C_t the loss leaves open what a mask hides") {
  const GaussianData data;
  const Setup setup(with(corruptions[1]));
  const At at(setup.process, 1, 1);
  const DesignLoss seen(setup.process, LossAt::corrupted, data, 1), clean(setup.process, LossAt::clean, data, 1);
  const LinearNetwork f = random_network(1);
  const at::Tensor hidden = at::eye(d, at::kDouble) - at.c;
  REQUIRE(hidden.sum().item<double>() > 0);
  const LinearNetwork other{f.a + at::matmul(hidden, noise({d, d}, 34)), f.b + at::matmul(hidden, noise({d}, 35))};
  CHECK(seen.value(other) == Approx(seen.value(f)).epsilon(1e-13));
  CHECK(clean.value(other) != Approx(clean.value(f)).epsilon(1e-3));
  const DesignLoss both(setup.process, LossAt::corrupted, data, 1, 0.1);
  CHECK(both.value(other) != Approx(both.value(f)).epsilon(1e-3));
}
