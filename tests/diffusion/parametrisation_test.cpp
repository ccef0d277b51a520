#include "core/diffusion/parametrisation.hpp"

#include <ATen/ops/cat.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <bit>
#include <cmath>

#include "core/diffusion/objective.hpp"
#include "tests/diffusion/restoration.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const char* const blur = "[corruption]\ntype = \"heat_blur\"\nstd_max = 2.0\n";
const char* const mask = "[corruption]\ntype = \"pixel_mask\"\nfraction_max = 0.8\n";
const char* const identity = "[corruption]\ntype = \"identity\"\n";
const char* const blur_and_mask =
    "[[corruption]]\ntype = \"heat_blur\"\nstd_max = 2.0\n[[corruption]]\ntype = \"pixel_mask\"\n";

// Correlated images with a mean that differs from pixel to pixel.
at::Tensor pictures(const SampleShape& shape) {
  const at::Tensor white = noise({30, shape[0], shape[1], shape[2]}, 51);
  return (white + white.roll({1}, {3}) + 0.4 * noise({1, shape[0], shape[1], shape[2]}, 52)) * 0.4;
}

// +-1 everywhere: the rows of a Hadamard matrix and their negatives. Mean 0, covariance I, and no rounding to bytes.
at::Tensor white_pictures() {
  at::Tensor x = at::ones({32, 1, 4, 4}, at::kDouble);
  for (int64_t i = 0; i < 16; ++i) {
    for (int64_t j = 0; j < 16; ++j) {
      const double sign = std::popcount(static_cast<uint64_t>(i & j)) % 2 ? -1 : 1;
      x[i].view({16})[j] = sign;
      x[i + 16].view({16})[j] = -sign;
    }
  }
  return x;
}

// A process with its data, and a place for a batch of four at mixed times and keys.
struct Calibrated {
  explicit Calibrated(const std::string& corruption, const SampleShape& shape = {1, 4, 4}, const at::Tensor& x = {})
      : text(with(corruption)),
        setup(text, shape),
        source(x.defined() ? x : pictures(shape)),
        data(source, *setup.corruption, at::TensorOptions(at::kDouble), 4096, 16, 3),
        x_0(at::cat({data.batch(0), data.n_batches() > 1 ? data.batch(1) : data.batch(0).slice(0, 0, 0)})),
        at(setup.process.at({0.125, 0.5, 0.75, 1}, {key_of(1, 0), key_of(1, 1), key_of(1, 2), key_of(1, 3)})),
        x_t(noise({4, shape[0], shape[1], shape[2]}, 53)) {}
  static Text with(const std::string& corruption) {
    Text text;
    text.corruption = corruption;
    return text;
  }
  Parametrisation made(const std::string& name) const {
    return Parametrisation::estimate(name, setup.process, data, 3);
  }

  Text text;
  Setup setup;
  MemorySource source;
  DataCalibration data;
  at::Tensor x_0;  // as the calibration holds it
  Points at;
  at::Tensor x_t;
};

at::Tensor column_of(std::vector<double> values) { return tensor({4, 1, 1, 1}, values); }

std::vector<double> map(const std::vector<double>& sigma, const std::function<double(double)>& f) {
  std::vector<double> values;
  for (const double s : sigma) values.push_back(f(s));
  return values;
}

// x0_hat and input are those of EDM (Karras et al., Table 1) about `m` with sigma_data = s.
void check_edm(const Calibrated& place, const Parametrisation& p, const at::Tensor& m, double s) {
  const Preconditioning around = p.at(place.setup.process, place.at, place.x_t);
  const at::Tensor f = noise({4, 1, 4, 4}, 54), y = place.x_t - m;
  const auto total = [&](double sigma) { return s * s + sigma * sigma; };
  const at::Tensor c_skip = column_of(map(place.at.sigma, [&](double sigma) { return s * s / total(sigma); }));
  const at::Tensor c_out = column_of(map(place.at.sigma, [&](double g) { return g * s / std::sqrt(total(g)); }));
  const at::Tensor c_in = column_of(map(place.at.sigma, [&](double sigma) { return 1 / std::sqrt(total(sigma)); }));
  CHECK(largest_difference(around.input(place.x_t), c_in * y) < 1e-10);
  CHECK(largest_difference(around.x0_hat(place.x_t, f.clone()), m + c_skip * y + c_out * f) < 1e-10);
}

struct Kind {
  const char* name;
  const char* corruption;
  Basis basis;
};
constexpr Kind kinds[] = {{"scaled", blur, Basis::dct},
                          {"scaled", blur_and_mask, Basis::none},
                          {"linear", blur, Basis::dct},
                          {"linear", mask, Basis::pixel},
                          {"linear", blur_and_mask, Basis::none}};

}  // namespace

TEST_CASE("the basis is the one in which the corruption is diagonal, at every level and for every key") {
  const auto basis = [](const std::string& corruption) {
    return basis_of(Calibrated(corruption).setup.process, {1, 4, 4}, at::TensorOptions(at::kDouble));
  };
  CHECK(basis(blur) == Basis::dct);
  CHECK(basis(identity) == Basis::dct);
  CHECK(basis(mask) == Basis::pixel);
  CHECK(basis(blur_and_mask) == Basis::none);
  // Diagonal in the DCT until the mask begins, near the end of the path.
  CHECK(basis("[[corruption]]\ntype = \"heat_blur\"\n[[corruption]]\ntype = \"pixel_mask\"\nfrom = 0.97\n") ==
        Basis::none);
}

TEST_CASE("under `linear` a network that says 0 is the wiener model of the data, in the DCT and in pixels") {
  const SampleShape shape = {3, 6, 5};
  for (const auto& [corruption, basis] : {std::pair(blur, "dct"), {mask, "pixel"}, {identity, "dct"}}) {
    const Calibrated place(corruption, shape);
    Text text = place.text;
    text.model = fmt::format("[model]\ntype = \"wiener\"\nsource = \"data\"\nbasis = \"{}\"\n", basis);
    const Setup setup(text, shape);
    const Model model = make_model(setup.pipeline, shape);
    ParamSet params(storage(model));
    model.fit(params, place.data, *setup.corruption);
    params.changed();
    const at::Tensor expected = Denoiser(model, params, setup.process).x0_hat(place.at, place.x_t);
    const Parametrisation linear = place.made("linear");
    const Preconditioning around = linear.at(place.setup.process, place.at, place.x_t);
    CAPTURE(corruption);
    CHECK(largest_difference(around.x0_hat(place.x_t, at::zeros_like(place.x_t)), expected) < 1e-12);
  }
}

TEST_CASE("for white data and C = I, `scaled` and `linear` are both EDM's preconditioning with sigma_data = 1") {
  const Calibrated place(identity, {1, 4, 4}, white_pictures());
  REQUIRE(largest_difference(place.x_0.square(), at::ones({32, 1, 4, 4}, at::kDouble)) == 0);
  for (const char* name : {"scaled", "linear"})
    check_edm(place, place.made(name), at::zeros({1, 4, 4}, at::kDouble), 1);
}

TEST_CASE("for any data and C = I, `scaled` is EDM's preconditioning about the mean") {
  const Calibrated place(identity);
  const at::Tensor m = place.x_0.mean(0);
  check_edm(place, place.made("scaled"), m, std::sqrt((place.x_0 - m).square().mean().item<double>()));
}

TEST_CASE("the numbers of `scaled` are the moments of data and noise under C_t") {
  const Calibrated place(blur);
  const at::Tensor m = place.x_0.mean(0), x = (place.x_0 - m).view({-1, 16});
  const Parametrisation p = place.made("scaled");
  const Preconditioning around = p.at(place.setup.process, place.at, place.x_t);
  const at::Tensor zero = at::zeros_like(place.x_t), one = zero + 1;
  const at::Tensor means = m.expand_as(place.x_t).contiguous(),
                   y = place.x_t - place.setup.process.corrupt(place.at, means);
  for (int64_t b = 0; b < 4; ++b) {
    const size_t i = static_cast<size_t>(b);
    const at::Tensor c = matrix_of(*place.setup.corruption, place.at.level[i], place.at.key[i], 4);
    const at::Tensor c_x = at::matmul(x, c.t());
    const double sigma2 = place.at.sigma[i] * place.at.sigma[i];
    const double seen = c_x.square().mean().item<double>() + sigma2, cross = (c_x * x).mean().item<double>();
    const double a = cross / seen;
    // E|x_0 - m - a y|^2 / d, the noise's part in closed form.
    const double left = (x - a * c_x).square().mean().item<double>() + a * a * sigma2;
    CHECK(largest_difference(around.input(place.x_t)[b], y[b] / std::sqrt(seen)) < 1e-12);
    CHECK(largest_difference(around.x0_hat(place.x_t, zero.clone())[b], m + a * y[b]) < 1e-12);
    CHECK(largest_difference(around.x0_hat(place.x_t, one.clone())[b], m + a * y[b] + std::sqrt(left)) < 1e-12);
  }
}

TEST_CASE("without a basis, `linear` is the linear estimate by conjugate gradients, scaled by what it misses") {
  const Calibrated place(blur_and_mask);
  const Parametrisation p = place.made("linear");
  CHECK(
      p.describe() ==
      "train.parametrisation = \"linear\": the corruption is diagonal neither in the DCT nor in pixels, so the linear "
      "estimate is found by 10 conjugate gradients at every call of the network, and scaled by one number a time");
  CHECK(place.made("scaled").describe() == "");
  CHECK(Calibrated(blur).made("linear").describe() == "");
  const Preconditioning around = p.at(place.setup.process, place.at, place.x_t);
  const at::Tensor estimate = around.x0_hat(place.x_t, at::zeros_like(place.x_t));
  // The dense formula with S diagonal in the DCT.
  const at::Tensor m = place.x_0.mean(0), one = at::eye(16, at::kDouble);
  const at::Tensor p_k = dct(place.x_0 - m).square().mean(0).view({16, 1});
  const at::Tensor t = dct(one.view({16, 1, 4, 4})).view({16, 16}).t(), s = at::matmul(t.t(), t * p_k);
  for (int64_t b = 0; b < 4; ++b) {
    const size_t i = static_cast<size_t>(b);
    const at::Tensor c = matrix_of(*place.setup.corruption, place.at.level[i], place.at.key[i], 4);
    const at::Tensor seen = at::matmul(c, s), sigma2 = one * (place.at.sigma[i] * place.at.sigma[i]);
    const at::Tensor y = column(place.x_t, b) - at::matmul(c, m.flatten());
    const at::Tensor dense = m.flatten() + at::matmul(seen.t(), at::linalg_solve(at::matmul(seen, c.t()) + sigma2, y));
    CAPTURE(b);
    CHECK(largest_difference(column(estimate, b), dense) < 0.02);
  }
  // At t = 1: the root mean square of x_0 - W(x_t) over the data, with noise of its own.
  std::vector<uint64_t> keys, sample;
  for (uint64_t b = 0; b < 30; ++b) keys.push_back(key_of(8, b)), sample.push_back(b);
  const Points end = place.setup.process.at(1, keys);
  const at::Tensor x_1 =
      place.setup.process.noisy(end, place.x_0, normal_like(place.x_0, 8, Purpose::prior, sample, 0));
  const Preconditioning at_end = p.at(place.setup.process, end, x_1);
  const at::Tensor w = at_end.x0_hat(x_1, at::zeros_like(x_1));
  const double r = (at_end.x0_hat(x_1, at::zeros_like(x_1) + 1) - w)[0][0][0][0].item<double>();
  CHECK(r == Approx(std::sqrt((place.x_0 - w).square().mean().item<double>())).epsilon(0.1));
}

TEST_CASE("the chain rule: scale and skip, and the network in between, against finite differences") {
  for (const Kind& kind : kinds) {
    Calibrated place(kind.corruption);
    const Parametrisation p = place.made(kind.name);
    // At t = 0.75 the gradients that find W converge within 10 iterations; where there is little noise they do not, and
    // v is near the slope.
    const bool by_gradients = std::string(kind.name) == "linear" && kind.basis == Basis::none;
    if (by_gradients) place.at = place.setup.process.at(0.75, place.at.key);
    Text text = place.text;
    text.model = "[model]\ntype = \"empirical\"\ncount = 5\n";  // a nonlinear network with a vjp
    const Setup setup(text);
    const Model model = make_model(setup.pipeline, {1, 4, 4});
    ParamSet params(storage(model));
    model.fit(params, TestData(1.0, {noise({5, 1, 4, 4}, 20)}), *setup.corruption);
    params.changed();
    const Denoiser denoiser(model, params, setup.process, p);
    const Measurement a(corruption("identity", "", {1, 4, 4}), 0, place.at.key, 0.1);
    const at::Tensor y = noise({4, 1, 4, 4}, 21), direction = noise({4, 1, 4, 4}, 22);
    const GuidedDenoiser guided(denoiser, a, y);
    const auto half_misfit = [&](double h) {
      return (y - denoiser.x0_hat(place.at, place.x_t + h * direction)).square().flatten(1).sum(1) / 2;
    };
    const double h = 1e-5;
    const at::Tensor slope = (half_misfit(h) - half_misfit(-h)) / (2 * h);
    const GuidedDenoiser::Estimate estimate = guided.estimate(place.at, place.x_t);
    CAPTURE(kind.name, kind.corruption);
    CHECK(largest_difference(estimate.x0_hat, denoiser.x0_hat(place.at, place.x_t)) == 0);
    const double error = largest_difference(slope, (estimate.v * direction).flatten(1).sum(1) * -1);
    CHECK(error < (by_gradients ? 1e-4 : 1e-6));
    CHECK(slope.abs().min().item<double>() > 1e-2);
  }
}

TEST_CASE("the gradient of the network's output is the derivative of the loss") {
  for (const Kind& kind : kinds) {
    const Calibrated place(kind.corruption);
    const Parametrisation p = place.made(kind.name);
    const Preconditioning around = p.at(place.setup.process, place.at, place.x_t);
    const at::Tensor x_0 = noise({4, 1, 4, 4}, 61), f = noise({4, 1, 4, 4}, 62), direction = noise({4, 1, 4, 4}, 63);
    for (const LossAt loss_at : {LossAt::corrupted, LossAt::clean}) {
      const Objective objective(place.setup.process,
                                {Weight::inverse_sigma, loss_at, 0.25, 1e-3, Times::uniform, 1, 0.1});
      TrainingDraw draw = objective.draw(x_0, 5, 0, 0);
      draw.at = place.at;
      const auto loss = [&](double h) {
        return objective.loss(draw, around.x0_hat(place.x_t, f + h * direction), x_0);
      };
      const double slope = loss(0.5).value - loss(-0.5).value;  // exact: the loss is quadratic
      const at::Tensor g = around.to_output(loss(0).gradient);
      CAPTURE(kind.name, kind.corruption, loss_at);
      CHECK((g * direction).sum().item<double>() == Approx(slope).epsilon(1e-11));
    }
  }
}

TEST_CASE("`residual` changes no bit: x0_hat = x_t + F(x_t)") {
  const Calibrated place(blur);
  const Parametrisation p = place.made("residual");
  CHECK(p.name() == "residual");
  CHECK(p.named().empty());
  const Preconditioning around = p.at(place.setup.process, place.at, place.x_t);
  const at::Tensor f = noise({4, 1, 4, 4}, 54), g = noise({4, 1, 4, 4}, 55);
  CHECK(bit_equal(around.input(place.x_t), place.x_t));
  CHECK(bit_equal(around.x0_hat(place.x_t, f.clone()), f + place.x_t));
  CHECK(bit_equal(around.to_output(g), g));
  CHECK(bit_equal(around.to_x_t(g, f), f + g));
}

TEST_CASE("what a checkpoint holds gives the very same maps; without it they are residual") {
  for (const Kind& kind : kinds) {
    const Calibrated place(kind.corruption);
    const Parametrisation p = place.made(kind.name);
    NamedTensors stored = p.named();
    stored["prior.mean"] = at::zeros({1, 4, 4});
    const Parametrisation again = Parametrisation::from(stored, {1, 4, 4}, "process.safetensors");
    CHECK(again.name() == kind.name);
    const at::Tensor f = noise({4, 1, 4, 4}, 54), g = noise({4, 1, 4, 4}, 55);
    const Preconditioning a = p.at(place.setup.process, place.at, place.x_t);
    const Preconditioning b = again.at(place.setup.process, place.at, place.x_t);
    CAPTURE(kind.name, kind.corruption);
    CHECK(bit_equal(a.input(place.x_t), b.input(place.x_t)));
    CHECK(bit_equal(a.x0_hat(place.x_t, f.clone()), b.x0_hat(place.x_t, f.clone())));
    CHECK(bit_equal(a.to_output(g), b.to_output(g)));
    CHECK(bit_equal(a.to_x_t(g, f), b.to_x_t(g, f)));
  }
  CHECK(Parametrisation::from({{"prior.mean", at::zeros({1, 4, 4})}}, {1, 4, 4}, "f").name() == "residual");
}

TEST_CASE("a part of a parametrisation, or one of another size, is refused") {
  const std::string expected =
      "process.safetensors: what it holds of \"parametrisation\" is incomplete, misshapen or unknown";
  const auto message = [](const NamedTensors& tensors) {
    return message_of<CheckpointError>([&] { Parametrisation::from(tensors, {1, 4, 4}, "process.safetensors"); });
  };
  for (const Kind& kind : kinds) {
    const NamedTensors whole = Calibrated(kind.corruption).made(kind.name).named();
    for (const auto& [name, tensor] : whole) {
      NamedTensors without = whole, other_size = whole, other_type = whole;
      without.erase(name);
      other_size[name] = tensor.flatten().slice(0, 1);
      other_type[name] = tensor.to(at::kFloat);
      CAPTURE(kind.name, name);
      CHECK(message(without) == expected);
      CHECK(message(other_size) == expected);
      CHECK(message(other_type) == expected);
    }
    NamedTensors more = whole;
    more["parametrisation.later"] = at::zeros({1}, at::kDouble);
    CHECK(message(more) == expected);
  }
}

TEST_CASE("images that are all alike are refused by what divides by their variance") {
  const Calibrated place(blur, {1, 4, 4}, at::zeros({6, 1, 4, 4}, at::kDouble));
  for (const std::string name : {"scaled", "linear"}) {
    CHECK(message_of<RunError>([&] { place.made(name); }) ==
          "train.parametrisation = \"" + name +
              "\" divides by the variance of the data, and the 6 calibration images are all alike; use "
              "train.parametrisation = \"residual\"");
  }
  CHECK_NOTHROW(place.made("residual"));
}

TEST_CASE("maps are finite where nothing is seen and nothing is noisy") {
  Text text = Calibrated::with(mask);
  const Setup setup(text);
  const Process process(setup.corruption, Path({0, 0.8}, {0, 0}));
  const MemorySource source(pictures({1, 4, 4}));
  const DataCalibration data(source, *setup.corruption, at::TensorOptions(at::kDouble), 4096, 16, 3);
  const at::Tensor x = noise({2, 1, 4, 4}, 1);
  const Points at = process.at({0, 1}, {1, 2});
  const Parametrisation p = Parametrisation::estimate("linear", process, data, 3);
  const Preconditioning around = p.at(process, at, x);
  CHECK(std::isfinite(around.x0_hat(x, at::ones({2, 1, 4, 4}, at::kDouble)).sum().item<double>()));
  CHECK(std::isfinite(around.input(x).sum().item<double>()));
  CHECK(largest_difference(around.x0_hat(x, at::ones({2, 1, 4, 4}, at::kDouble))[0], x[0]) < 1e-12);  // C = I: x itself
}
