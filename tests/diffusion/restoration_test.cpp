// Restoration against dense solutions and against Gaussian data, whose posterior is known.
#include "core/diffusion/restoration.hpp"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linalg_pinv.h>
#include <ATen/ops/linalg_solve.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "core/data/images.hpp"
#include "tests/diffusion/setup.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

constexpr ConjugateLimits exact{1e-13, 400};

// One matrix for each key: A(key) x, at any level.
class Matrices : public Corruption {
 public:
  explicit Matrices(std::vector<at::Tensor> matrices) : matrices_(std::move(matrices)) {}
  double level_max() const override { return 1; }
  std::string level_unit() const override { return ""; }
  at::Tensor apply(const Points& at, const at::Tensor& x) const override { return product(at, x, false); }
  at::Tensor adjoint(const Points& at, const at::Tensor& x) const override { return product(at, x, true); }

 private:
  at::Tensor product(const Points& at, const at::Tensor& x, bool transposed) const {
    std::vector<at::Tensor> rows;
    for (int64_t b = 0; b < x.size(0); ++b) {
      const at::Tensor& m = matrices_[at.key[static_cast<size_t>(b)]];
      rows.push_back(at::matmul(transposed ? m.t() : m, x[b].flatten()).view(x[b].sizes()));
    }
    return at::stack(rows);
  }
  std::vector<at::Tensor> matrices_;
};

// The matrix of a corruption for samples of 1 x side x side, at one level and key.
at::Tensor matrix_of(const Corruption& c, double level, uint64_t key, int64_t side) {
  const int64_t d = side * side;
  Points at = points(std::vector<double>(static_cast<size_t>(d), level));
  at.key.assign(static_cast<size_t>(d), key);
  return c.apply(at, at::eye(d, at::kDouble).view({d, 1, side, side})).view({d, d}).t().contiguous();
}

at::Tensor column(const at::Tensor& x, int64_t b) { return x[b].flatten(); }

// An exact model of Gaussian data, its process, and keys for a batch.
struct Exact {
  explicit Exact(const Text& text, int64_t side = 4, int64_t batch = 3)
      : setup(text, {1, side, side}),
        model(make_model(setup.pipeline, {1, side, side})),
        params(room_for(model)),
        denoiser(model, params, setup.process) {
    model.init(params, 0);
    params.changed();
    for (int64_t b = 0; b < batch; ++b) {
      sample.push_back(static_cast<uint64_t>(b));
      keys.push_back(key_of(4, static_cast<uint64_t>(b)));
    }
  }
  static ParamSet room_for(const Model& model) {
    std::vector<at::Tensor> tensors;
    for (const ModelParamInfo& p : model.params()) tensors.push_back(at::zeros(p.shape, at::kDouble));
    return ParamSet(std::move(tensors));
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

// Data N(0, I): what the projection takes all data for.
Text white() {
  Text text;
  text.model = "[model]\ntype = \"wiener\"\nsource = \"power_law\"\nexponent = 0.0\n";
  return text;
}

}  // namespace

TEST_CASE("least squares solves regular, singular and regularised systems of one batch as a dense solver does") {
  const int64_t d = 9;
  at::Tensor regular = noise({d, d}, 1) + at::eye(d, at::kDouble) * 2, singular = noise({d, d}, 2);
  singular.slice(0, 0, 4).zero_();                         // rows without an answer
  singular.slice(1, 7, 9).copy_(singular.slice(1, 5, 7));  // columns that cannot be told apart
  const at::Tensor mask = at::eye(d, at::kDouble) * (at::arange(d, at::kDouble) < 5).to(at::kDouble);
  const std::vector<at::Tensor> matrices = {regular, singular, mask, at::zeros({d, d}, at::kDouble)};
  const Measurement a(std::make_shared<Matrices>(matrices), 1, {0, 1, 2, 3}, 0.1);
  const at::Tensor r = noise({4, 1, 3, 3}, 3), c = noise({d, d}, 4);
  for (const double lambda : {0.0, 0.01, 3.0}) {
    for (const double mu : {0.0, 0.4}) {
      const auto along = [&](const at::Tensor& m, const at::Tensor& x) {
        return at::matmul(x.flatten(1), m.t()).view(x.sizes());
      };
      const Penalty penalty{
          lambda,
          mu,
          {[&](const at::Tensor& x) { return along(c, x); }, [&](const at::Tensor& x) { return along(c.t(), x); }}};
      const at::Tensor found = least_squares(a.map(), penalty, r, exact);
      for (int64_t b = 0; b < 4; ++b) {
        INFO("lambda " << lambda << ", mu " << mu << ", matrix " << b);
        const at::Tensor& m = matrices[static_cast<size_t>(b)];
        const at::Tensor normal = at::matmul(m.t(), m) + at::eye(d, at::kDouble) * lambda + at::matmul(c.t(), c) * mu;
        const at::Tensor expected = at::matmul(at::linalg_pinv(normal, 1e-11), at::matmul(m.t(), r[b].flatten()));
        CHECK(largest_difference(column(found, b), expected) < 1e-9);
      }
    }
  }
}

TEST_CASE("the pseudo-inverse is A^T (A A^T + sigma^2 I)^-1 y") {
  const int64_t d = 9;
  const at::Tensor m = noise({d, d}, 5);
  const Measurement a(std::make_shared<Matrices>(std::vector<at::Tensor>{m}), 1, {0}, 0.3);
  const at::Tensor y = noise({1, 1, 3, 3}, 6);
  const at::Tensor dense =
      at::matmul(m.t(), at::linalg_solve(at::matmul(m, m.t()) + at::eye(d, at::kDouble) * 0.09, y.flatten()));
  CHECK(largest_difference(pseudo_inverse(a, y, exact).flatten(), dense) < 1e-10);
}

TEST_CASE("samples of a batch are solved by themselves, bit for bit") {
  const int64_t d = 9;
  const std::vector<at::Tensor> matrices = {noise({d, d}, 7), at::eye(d, at::kDouble), noise({d, d}, 8) * 30};
  const auto corruption = std::make_shared<Matrices>(matrices);
  const at::Tensor y = noise({3, 1, 3, 3}, 9);
  const at::Tensor whole = pseudo_inverse(Measurement(corruption, 1, {0, 1, 2}, 0.1), y);
  for (int64_t b = 0; b < 3; ++b) {
    const Measurement alone(corruption, 1, {static_cast<uint64_t>(b)}, 0.1);
    CHECK(largest_difference(pseudo_inverse(alone, y.slice(0, b, b + 1).contiguous()), whole.slice(0, b, b + 1)) <
          1e-12);
  }
}

TEST_CASE("the pseudo-inverse of a mask keeps what is seen to the bit and leaves the rest at 0") {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const std::shared_ptr<const Corruption> mask = corruption("pixel_mask", "", {3, 8, 8});
    const Measurement a(mask, 0.6, {1, 2}, 0);
    const at::Tensor x = noise({2, 3, 8, 8}, 10, dtype);
    const at::Tensor y = a.apply(x), back = pseudo_inverse(a, y);
    CHECK(bit_equal(back, y));
    CHECK((y == 0).any().item<bool>());
    CHECK((y != 0).any().item<bool>());
  }
}

TEST_CASE("conjugate gradients end at their limit, and finite, on a system that they cannot solve") {
  const std::shared_ptr<const Corruption> blur = corruption("heat_blur", "std_max = 8.0", {1, 16, 16});
  const Measurement a(blur, 8, {1}, 0);
  const at::Tensor found = pseudo_inverse(a, noise({1, 1, 16, 16}, 11, at::kFloat), {0, 500});
  CHECK(found.isfinite().all().item<bool>());
  CHECK(bit_equal(least_squares(a.map(), {}, noise({1, 1, 16, 16}, 11), {1e-6, 0}),
                  at::zeros({1, 1, 16, 16}, at::kDouble)));
}

TEST_CASE("a measurement refuses levels that its corruption does not have") {
  const std::shared_ptr<const Corruption> blur = corruption("heat_blur", "std_max = 8.0", {1, 4, 4});
  CHECK(message_of<RunError>([&] { Measurement(blur, 9, {0}, 0); }) ==
        "an observation's level must be from 0 to 8, the corruption's largest, not 9");
  CHECK(message_of<RunError>([&] { Measurement(blur, std::nan(""), {0}, 0); }) ==
        "an observation's level must be from 0 to 8, the corruption's largest, not nan");
  CHECK(message_of<RunError>([&] { Measurement(blur, 1, {0}, -1); }) ==
        "an observation's noise must not be negative, but it is -1");
}

TEST_CASE("an observation is A x_0 + sigma n, the same for each image in every batch") {
  const std::shared_ptr<const Corruption> mask = corruption("pixel_mask", "", {1, 40, 40});
  const at::Tensor x = noise({3, 1, 40, 40}, 12);
  const std::vector<uint64_t> keys = {5, 6, 7}, numbers = {0, 1, 2};
  const Measurement a(mask, 0.5, keys, 0.2);
  const at::Tensor y = a.observe(x, 8, numbers);
  CHECK((y - a.apply(x)).square().mean().sqrt().item<double>() == Approx(0.2).epsilon(0.05));
  const Measurement last(mask, 0.5, {7}, 0.2);
  CHECK(bit_equal(last.observe(x.slice(0, 2, 3).contiguous(), 8, std::vector<uint64_t>{2}), y.slice(0, 2, 3)));
}

TEST_CASE("an observation's place on the path: level(t) = level, and enough noise where the level stands still") {
  // Levels 0 1 1 1 2 at t = 0, 1/4 ... 1; sigma rises all the way.
  const Path path({0, 1, 1, 1, 2}, {0.1, 0.2, 0.3, 0.4, 0.5});
  const auto check = [&](double level, double sigma, double t, bool too_noisy) {
    INFO("level " << level << ", sigma " << sigma);
    const PathEntry entry = path_entry(path, level, sigma);
    CHECK(entry.t == Approx(t).margin(1e-12));
    CHECK(path.level(entry.t) == Approx(level).margin(1e-12));
    CHECK(entry.too_noisy == too_noisy);
    const double there = path.sigma(entry.t);
    CHECK(entry.missing == Approx(too_noisy ? 0 : std::sqrt(std::max(there * there - sigma * sigma, 0.0))));
  };
  check(0, 0, 0, false);
  check(0.5, 0, 0.125, false);
  check(0.5, 0.2, 0.125, true);
  check(1, 0, 0.25, false);  // the smallest t
  check(1, 0.2, 0.25, false);
  check(1, 0.35, 0.625, false);  // further along the flat part, until sigma fits
  check(1, 0.4, 0.75, false);
  check(1, 0.45, 0.75, true);  // its end
  check(1.5, 0, 0.875, false);
  check(2, 0.5, 1, false);
  check(2, 0.6, 1, true);
  CHECK(message_of<RunError>([&] { path_entry(path, 2.1, 0); }) == "level 2.1 is beyond the largest on this path, 2");
  // A path that reaches its end early, and one without any corruption.
  CHECK(path_entry(Path({0, 2, 2}, {0, 0.1, 0.3}), 2, 0.2).t == Approx(0.75));
  CHECK(path_entry(Path({0, 0, 0}, {0, 0.1, 0.3}), 0, 0.2).t == Approx(0.75));
}

TEST_CASE("reversing with ddim on Gaussian data is the linear map that the samples' algebra gives") {
  const Exact e(Text{}, 8);
  const double level = 1.3, sigma_y = 0.004;
  const Path& path = e.setup.process.path();
  const Measurement a(e.setup.corruption, level, e.keys, sigma_y);
  const at::Tensor y = noise({3, 1, 8, 8}, 13);
  TrajectoryOptions options;
  options.seed = 4;
  const int64_t steps = 7;
  const Trajectory found = restore_by_reversing(e.denoiser, Exact::made("ddim"), a, y, steps, e.sample, options);
  CHECK(found.nfe == steps);
  // heat_blur's coefficients, and the exact denoiser's gain p c / (c^2 p + sigma^2).
  const at::Tensor k = at::arange(8, at::kDouble) * (M_PI / 8);
  const at::Tensor frequency = k.square().view({8, 1}) + k.square().view({1, 8});
  const at::Tensor n = at::arange(8, at::kDouble).square();
  const at::Tensor p = (1 + n.view({8, 1}) + n.view({1, 8})).pow(-1.5);
  const auto c = [&](double t) { return (frequency * (-0.5 * path.level(t) * path.level(t))).exp(); };
  const auto gain = [&](double t) { return p * c(t) / (c(t).square() * p + path.sigma(t) * path.sigma(t)); };
  const double start = level / 2;  // level(t) = 2 t
  const double missing = std::sqrt(path.sigma(start) * path.sigma(start) - sigma_y * sigma_y);
  at::Tensor x = dct(y + normal_like(y, 4, Purpose::restoration, e.sample, 0, 1) * missing);
  for (int64_t i = steps; i > 1; --i) {
    const double t = start * static_cast<double>(i) / 7, s = start * static_cast<double>(i - 1) / 7;
    const double ratio = path.sigma(s) / path.sigma(t);
    x = (c(s) - ratio * c(t)) * gain(t) * x + ratio * x;
  }
  CHECK(largest_difference(found.x, inverse_dct(gain(start / 7) * x)) < 1e-6);
}

TEST_CASE("an observation at level 0 is denoised once") {
  const Exact e(Text{});
  const Measurement a(e.setup.corruption, 0, e.keys, 0.01);
  const at::Tensor y = noise({3, 1, 4, 4}, 14);
  const Trajectory found = restore_by_reversing(e.denoiser, Exact::made("ddim"), a, y, 9, e.sample, {});
  CHECK(found.nfe == 1);
  CHECK(bit_equal(found.x, e.denoiser.x0_hat(e.setup.process.at(0, e.keys), y)));
}

TEST_CASE(
    "on data of its law the projection is E[x_0 | x_t, y], whatever the model's and the measurement's corruption") {
  struct Data {
    Text text;
    ImageLaw law;
  };
  std::vector<Data> all(3, {white(), white_law});
  all[1].text.corruption = "[corruption]\ntype = \"pixel_mask\"\n";
  all[1].text.model += "basis = \"pixel\"\n";
  const at::Tensor k = at::arange(4, at::kDouble).square();
  const at::Tensor power = 2 / (1 + k.view({4, 1}) + k.view({1, 4}));
  all[2].text.model = "[model]\ntype = \"wiener\"\nsource = \"power_law\"\namplitude = 2.0\nexponent = 1.0\n";
  all[2].law = {1, power.mean().item<double>()};
  for (const Data& data : all) {
    const Exact e(data.text);
    at::Tensor prior = at::eye(16, at::kDouble);  // its inverse covariance
    if (data.law.exponent != 0) {
      const at::Tensor basis = dct(at::eye(16, at::kDouble).view({16, 1, 4, 4})).view({16, 16}).t();
      prior = at::matmul(basis.t(), basis / power.view({16, 1}));
    }
    for (const char* id : {"pixel_mask", "heat_blur"}) {
      const std::shared_ptr<const Corruption> other = corruption(id, "", {1, 4, 4});
      const double level = 0.6, sigma_y = 0.3;
      const Measurement a(other, level, {11, 12, 13}, sigma_y);
      const at::Tensor y = noise({3, 1, 4, 4}, 15), x_t = noise({3, 1, 4, 4}, 16);
      const ProjectedDenoiser projected(e.denoiser, a, y, data.law, exact);
      for (const double t : {0.1, 0.5, 1.0}) {
        INFO(id << " at t = " << t << ", exponent " << data.law.exponent);
        const Points at = e.setup.process.at(t, e.keys);
        const at::Tensor found = projected.x0_hat(at, x_t);
        for (int64_t b = 0; b < 3; ++b) {
          const at::Tensor m = matrix_of(*other, level, 11 + static_cast<uint64_t>(b), 4);
          const at::Tensor c = matrix_of(*e.setup.corruption, at.level[0], e.keys[static_cast<size_t>(b)], 4);
          const double of_y = 1 / (sigma_y * sigma_y), of_x = 1 / (at.sigma[0] * at.sigma[0]);
          const at::Tensor precision = prior + at::matmul(c.t(), c) * of_x + at::matmul(m.t(), m) * of_y;
          const at::Tensor expected = at::linalg_solve(
              precision, at::matmul(c.t(), column(x_t, b)) * of_x + at::matmul(m.t(), column(y, b)) * of_y);
          CHECK(largest_difference(column(found, b), expected) < 1e-9);
        }
      }
    }
  }
}

TEST_CASE("an observation without noise is met exactly, and the white law changes nothing that A does not see") {
  const Exact e(Text{}, 8);
  const std::shared_ptr<const Corruption> mask = corruption("pixel_mask", "", {1, 8, 8});
  const Measurement a(mask, 0.5, {11, 12, 13}, 0);
  const at::Tensor y = a.apply(noise({3, 1, 8, 8}, 17)), x_t = noise({3, 1, 8, 8}, 18);
  const Points at = e.setup.process.at(0.5, e.keys);
  const at::Tensor before = e.denoiser.x0_hat(at, x_t);
  const at::Tensor after = ProjectedDenoiser(e.denoiser, a, y, white_law, exact).x0_hat(at, x_t);
  const at::Tensor smooth = ProjectedDenoiser(e.denoiser, a, y, {}, exact).x0_hat(at, x_t);
  CHECK(largest_difference(a.apply(after), y) < 1e-12);
  CHECK(largest_difference(a.apply(smooth), y) < 1e-10);
  const at::Tensor hidden = 1 - a.apply(at::full({3, 1, 8, 8}, 1.0, at::kDouble));
  CHECK(largest_difference(after * hidden, before * hidden) < 1e-12);
  CHECK(largest_difference(smooth * hidden, before * hidden) > 0.1);
  CHECK(largest_difference(after, before) > 0.1);
}

TEST_CASE("the projected probability flow of white data ends in the posterior") {
  Text text = white();
  text.corruption = "[corruption]\ntype = \"identity\"\n";
  text.noise = "[noise]\ntype = \"geometric\"\nsigma_min = 0.001\nsigma_max = 50.0\nsaturation = 1.0\n";
  const Exact e(text, 4, 2);
  const double sigma_y = 0.5;
  const std::shared_ptr<const Corruption> mask = corruption("pixel_mask", "", {1, 4, 4});
  const Measurement a(mask, 0.5, {11, 11}, sigma_y);
  const at::Tensor one = noise({1, 1, 4, 4}, 19), y = at::cat({one, one});
  // The start's standard deviation, to either side: half the difference is the posterior's, the mean its mean.
  const double spread = std::sqrt(1 + 50.0 * 50.0);
  const at::Tensor ones = at::full({1, 1, 4, 4}, spread, at::kDouble);
  const at::Tensor x =
      e.run(ProjectedDenoiser(e.denoiser, a, y, white_law, exact), "ddim", at::cat({ones, ones * -1}), 400).x;
  const at::Tensor seen = a.apply(at::full({2, 1, 4, 4}, 1.0, at::kDouble))[0];
  const double information = 1 / (sigma_y * sigma_y), variance = 1 / (1 + information);
  CHECK(largest_difference((x[0] + x[1]) / 2, y[0] * seen * (information * variance)) < 0.02);
  const at::Tensor expected = seen * std::sqrt(variance) + (1 - seen);
  CHECK(largest_difference((x[0] - x[1]) / 2, expected) < 0.03);
}

TEST_CASE("the guidance's direction is minus half the gradient of |y - A x0_hat(x_t)|^2") {
  for (const char* model : {"wiener", "empirical"}) {
    Text text;
    if (std::string(model) == "empirical") text.model = "[model]\ntype = \"empirical\"\ncount = 5\n";
    Exact e(text, 4, 2);
    if (std::string(model) == "empirical") {
      const TestData data(2.0, {noise({5, 1, 4, 4}, 20)});
      e.model.fit(e.params, data, *e.setup.corruption);
      e.params.changed();
    }
    const Measurement a(corruption("pixel_mask", "", {1, 4, 4}), 0.4, {11, 12}, 0.1);
    const at::Tensor y = noise({2, 1, 4, 4}, 21), x = noise({2, 1, 4, 4}, 22), u = noise({2, 1, 4, 4}, 23);
    const GuidedDenoiser guided(e.denoiser, a, y);
    const Points at = e.setup.process.at(0.8, e.keys);
    const auto half_misfit = [&](double h) {
      return (y - a.apply(e.denoiser.x0_hat(at, x + h * u))).square().flatten(1).sum(1) / 2;
    };
    const double h = 1e-5;
    const at::Tensor slope = (half_misfit(h) - half_misfit(-h)) / (2 * h);
    const GuidedDenoiser::Estimate estimate = guided.estimate(at, x);
    CHECK(largest_difference(slope, (estimate.v * u).flatten(1).sum(1) * -1) < 1e-6);
    CHECK(slope.abs().min().item<double>() > 1e-4);
    CHECK(largest_difference(estimate.x0_hat, e.denoiser.x0_hat(at, x)) == 0);
  }
}

TEST_CASE("where A and C are I and data is white, guidance of strength 1 is E[x_0 | x_t, y]") {
  Text text = white();
  text.corruption = "[corruption]\ntype = \"identity\"\n";
  const Exact e(text);
  const double sigma_y = 0.3;
  const Measurement a(e.setup.corruption, 1, e.keys, sigma_y);
  const at::Tensor y = noise({3, 1, 4, 4}, 24), x_t = noise({3, 1, 4, 4}, 25);
  const Points at = e.setup.process.at(0.7, e.keys);
  const double of_y = 1 / (sigma_y * sigma_y), of_x = 1 / (at.sigma[0] * at.sigma[0]);
  const at::Tensor expected = (x_t * of_x + y * of_y) / (1 + of_x + of_y);
  CHECK(largest_difference(GuidedDenoiser(e.denoiser, a, y).x0_hat(at, x_t), expected) < 1e-10);
  const at::Tensor half = GuidedDenoiser(e.denoiser, a, y, 0.5).x0_hat(at, x_t);
  CHECK(largest_difference(half, (expected + e.denoiser.x0_hat(at, x_t)) / 2) < 1e-10);
  CHECK(bit_equal(GuidedDenoiser(e.denoiser, a, y, 0).x0_hat(at, x_t), e.denoiser.x0_hat(at, x_t)));
}

TEST_CASE("guidance lowers the misfit and is finite where there is nothing to follow") {
  const Exact e(Text{}, 8);
  const Measurement a(corruption("pixel_mask", "", {1, 8, 8}), 0.4, {11, 12, 13}, 0);
  const at::Tensor y = a.apply(noise({3, 1, 8, 8}, 26)), x_t = noise({3, 1, 8, 8}, 27);
  const Points at = e.setup.process.at(0.5, e.keys);
  const auto misfit = [&](const at::Tensor& x0_hat) { return (y - a.apply(x0_hat)).square().flatten(1).sum(1); };
  const at::Tensor before = misfit(e.denoiser.x0_hat(at, x_t));
  CHECK((misfit(GuidedDenoiser(e.denoiser, a, y).x0_hat(at, x_t)) < before * 0.9).all().item<bool>());
  const Measurement blind(corruption("pixel_mask", "", {1, 8, 8}), 1, {11, 12, 13}, 0);
  CHECK(bit_equal(GuidedDenoiser(e.denoiser, blind, y * 0).x0_hat(at, x_t), e.denoiser.x0_hat(at, x_t)));
}

TEST_CASE("a start agrees with y where x_1 shows it, and stays where x_1 shows nothing") {
  Text text;
  text.corruption = "[corruption]\ntype = \"heat_blur\"\nstd_max = 40.0\n";  // the mean brightness alone is left
  text.noise = "[noise]\ntype = \"geometric\"\nsigma_min = 0.01\nsigma_max = 0.01\n";
  const Exact e(text, 8);
  const Measurement a(corruption("pixel_mask", "", {1, 8, 8}), 0.5, e.keys, 0.01);
  const at::Tensor y = a.apply(at::full({3, 1, 8, 8}, 0.7, at::kDouble)),
                   x_1 = at::full({3, 1, 8, 8}, -0.4, at::kDouble);
  const at::Tensor start = posterior_start(e.denoiser, a, y, x_1, e.keys);
  CHECK(largest_difference(start, x_1 * 0 + 0.7) < 0.1);  // its mean is not seen, half of its pixels are
  Text blind;
  blind.corruption = "[corruption]\ntype = \"pixel_mask\"\n";
  blind.model += "basis = \"pixel\"\n";
  const Exact masked(blind, 8);
  CHECK(bit_equal(posterior_start(masked.denoiser, a, y, x_1, masked.keys), x_1));
}

namespace {

struct Case {
  std::string name;
  std::shared_ptr<const Corruption> a;
  double level;
  std::vector<uint64_t> keys;
};

// Mean over pixels of the variance of x_0 given y, for data of variances `power` in the DCT.
double posterior_variance(const Case& c, double sigma, const at::Tensor& power) {
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

}  // namespace

TEST_CASE("every method samples the posterior of Gaussian data, and the mean of samples is better than y and A^+ y") {
  const int64_t side = 8, n = 24;
  const double sigma_y = 0.05;
  Text text;
  text.noise = "[noise]\ntype = \"geometric\"\nsigma_min = 0.01\nsigma_max = 0.1\nsaturation = 1.0\n";
  text.corruption = "[corruption]\ntype = \"heat_blur\"\nstd_max = 4.0\n";
  text.model += "amplitude = 5.0\n";
  const Exact e(text, side, n);
  const at::Tensor k = at::arange(side, at::kDouble).square();
  const at::Tensor power = (1 + k.view({side, 1}) + k.view({1, side})).pow(-1.5) * 5;
  const at::Tensor like = at::zeros({n, 1, side, side}, at::kDouble);
  const auto image = [&](uint32_t draw) {
    return inverse_dct(normal_like(like, 31, Purpose::test, e.sample, 0, draw) * power.sqrt());
  };
  const auto x_1 = [&](uint32_t draw) {
    const at::Tensor eps = normal_like(like, 32, Purpose::test, e.sample, 0, draw);
    return e.setup.process.noisy(e.setup.process.at(1, e.keys), image(1 + draw), eps);
  };
  const at::Tensor x_0 = image(0);
  const auto error = [&](const at::Tensor& x) { return (x - x_0).square().mean().item<double>(); };
  const std::vector<Case> cases = {{"blur", e.setup.corruption, 1.2, e.keys},
                                   {"mask", corruption("pixel_mask", "", {1, side, side}), 0.5, e.keys},
                                   {"downsample", corruption("downsample", "factor = 2", {1, side, side}), 1, e.keys}};
  for (const Case& c : cases) {
    const Measurement a(c.a, c.level, c.keys, sigma_y);
    const at::Tensor y = a.observe(x_0, 5, e.sample), inverted = pseudo_inverse(a, y);
    // A sample of the posterior is twice as far from x_0 as its mean.
    const double of_sample = 2 * posterior_variance(c, sigma_y, power);
    const ProjectedDenoiser projected(e.denoiser, a, y);
    const GuidedDenoiser guided(e.denoiser, a, y);
    const std::vector<std::pair<std::string, const Denoiser*>> methods = {{"projection", &projected},
                                                                          {"guidance", &guided}};
    const at::Tensor start = posterior_start(e.denoiser, a, y, x_1(0), e.keys);
    for (const std::string sampler : {"naive", "momentum", "ancestral", "ddim", "multistep"}) {
      for (const auto& [method, denoiser] : methods) {
        const double found = error(e.run(*denoiser, sampler, start, 20).x);
        INFO(c.name << " by " << method << " with " << sampler << ": " << found << ", a sample: " << of_sample);
        CHECK(found < 1.6 * of_sample);
        CHECK(found > 0.4 * of_sample);
      }
    }
    for (const auto& [method, denoiser] : methods) {
      at::Tensor mean = like.clone();
      for (uint32_t draw = 0; draw < 8; ++draw)
        mean += e.run(*denoiser, "ddim", posterior_start(e.denoiser, a, y, x_1(draw), e.keys), 12).x / 8;
      INFO(c.name << " by " << method << ": " << error(mean) << ", observed " << error(y) << ", inverted "
                  << error(inverted));
      CHECK(error(mean) < error(y));
      CHECK(error(mean) < error(inverted));
    }
  }
}

TEST_CASE("reversing from y's own place samples the posterior, and one step of it is the posterior's mean") {
  const int64_t side = 8, n = 48;
  Text text;
  text.corruption = "[corruption]\ntype = \"heat_blur\"\nstd_max = 4.0\n";
  const Exact e(text, side, n);
  const at::Tensor k = at::arange(side, at::kDouble).square();
  const at::Tensor power = (1 + k.view({side, 1}) + k.view({1, side})).pow(-1.5);
  const at::Tensor white = normal_like(at::zeros({n, 1, side, side}, at::kDouble), 31, Purpose::test, e.sample, 0, 0);
  const at::Tensor x_0 = inverse_dct(white * power.sqrt());
  const double level = 1, sigma_y = e.setup.process.path().sigma(0.25);
  const Measurement a(e.setup.corruption, level, e.keys, sigma_y);
  const at::Tensor y = a.observe(x_0, 5, e.sample);
  const double variance = posterior_variance({"", e.setup.corruption, level, e.keys}, sigma_y, power);
  const auto error = [&](const std::string& sampler, int64_t steps) {
    TrajectoryOptions options;
    const Trajectory t = restore_by_reversing(e.denoiser, Exact::made(sampler), a, y, steps, e.sample, options);
    return (t.x - x_0).square().mean().item<double>();
  };
  for (const std::string sampler : {"momentum", "ancestral", "ddim", "multistep"}) {
    INFO(sampler);
    CHECK(error(sampler, 1) == Approx(variance).epsilon(0.1));
    CHECK(error(sampler, 60) > 1.3 * variance);  // 2 but for the last denoise and the steps
    CHECK(error(sampler, 60) < 2.2 * variance);
  }
  CHECK(error("ddim", 1) < (y - x_0).square().mean().item<double>());
}
