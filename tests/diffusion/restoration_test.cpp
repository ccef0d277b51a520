// Least squares against dense solutions, what an observation is, and the reverse process from its place on the path.
#include <ATen/ops/arange.h>
#include <ATen/ops/linalg_pinv.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "tests/diffusion/restoration.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

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

TEST_CASE("samples of a batch are solved by themselves, to rounding") {
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
