#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "tests/plugins/support.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const SampleShape sample = {2, 4, 3};
constexpr int64_t size = 24;

// A model with its own parameters, at work under a corruption.
struct Denoiser {
  Denoiser(const std::string& id, const std::string& toml, std::shared_ptr<const Corruption> c,
           const SampleShape& shape = sample)
      : model(plugin(id), settings(plugin(id), toml), shape), corruption(std::move(c)), params(storage(model)) {
    model.init(params, 5);
  }
  ModelCall call(const Points& at) const {
    CallScope scope;
    scope.corruption = corruption.get();
    return {params, at, scope};
  }
  at::Tensor x0_hat(const Points& at, const at::Tensor& x) const { return x + model.forward(call(at), x); }

  Model model;
  std::shared_ptr<const Corruption> corruption;
  ParamSet params;
};

// Different levels, noises and keys in one batch.
Points mixed(double level_max) {
  Points at = points({0, 0.3 * level_max, 0.7 * level_max, level_max});
  at.sigma = {0.5, 0.1, 0.3, 0.7};
  return at;
}
at::Tensor batch(uint64_t seed) { return noise({4, 2, 4, 3}, seed); }

// The largest difference of gy^T dy/dx between the vjp and central differences.
double vjp_error(const Denoiser& d, const Points& at) {
  const at::Tensor x = batch(21), gy = batch(22);
  auto [y, saved] = d.model.forward_saving(d.call(at), x);
  const at::Tensor gx = d.model.vjp(d.call(at), x, saved, gy, nullptr, true);
  const at::Tensor direction = batch(23);
  const double h = 1e-5;
  const at::Tensor change =
      (d.model.forward(d.call(at), x + direction * h) - d.model.forward(d.call(at), x - direction * h)) / (2 * h);
  // Per sample: each has its own operator.
  return largest_difference((gx * direction).sum({1, 2, 3}), (gy * change).sum({1, 2, 3}));
}

}  // namespace

TEST_CASE("wiener in the DCT basis equals the dense solution for blurred power-law data") {
  const std::shared_ptr<const Corruption> blur = corruption("heat_blur", "std_max = 2.0", sample);
  const Denoiser diagonal("wiener", "exponent = 1.2\namplitude = 3.0", blur);
  const Denoiser dense("wiener", "exponent = 1.2\namplitude = 3.0\nbasis = \"dense\"", blur);
  CHECK(largest_difference(diagonal.x0_hat(mixed(2.0), batch(1)), dense.x0_hat(mixed(2.0), batch(1))) < 1e-12);
}

TEST_CASE("wiener weighs every DCT coefficient by what is known about it") {
  const std::shared_ptr<const Corruption> blur = corruption("heat_blur", "std_max = 2.0", {1, 4, 4});
  const Denoiser d("wiener", "", blur, {1, 4, 4});
  const at::Tensor x = noise({1, 1, 4, 4}, 2);
  const std::vector<double> before = numbers(dct(x)), after = numbers(dct(d.x0_hat(points({0.8}, 0.2), x)));
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      const double p = std::pow(1.0 + i * i + j * j, -1.5);
      const double c = std::exp(-0.5 * 0.64 * M_PI * M_PI * (i * i + j * j) / 16);
      CHECK(after[4 * i + j] == Approx(p * c / (c * c * p + 0.04) * before[4 * i + j]).epsilon(1e-10));
    }
  }
}

TEST_CASE("wiener in the pixel basis takes masked pixels from the mean") {
  const std::shared_ptr<const Corruption> mask = corruption("pixel_mask", "", sample);
  Denoiser d("wiener", "basis = \"pixel\"\nexponent = 0.0", mask);
  d.params.tensors()[0].fill_(0.25);
  const Points at = mixed(1.0);
  const at::Tensor seen = mask->apply(at, at::zeros({4, 2, 4, 3}, at::kDouble) + 1), x = batch(3);
  const std::vector<double> s = numbers(seen), in = numbers(x), out = numbers(d.x0_hat(at, x));
  for (size_t i = 0; i < in.size(); ++i) {
    const double sigma = at.sigma[i / size];
    CHECK(out[i] == Approx(s[i] == 0 ? 0.25 : 0.25 + (in[i] - 0.25) / (1 + sigma * sigma)).epsilon(1e-12));
  }
}

TEST_CASE("wiener in the dense basis fills masked pixels in by regression, with and without noise") {
  const std::shared_ptr<const Corruption> mask = corruption("pixel_mask", "", sample);
  const Denoiser d("wiener", "basis = \"dense\"", mask);
  Points at = mixed(1.0);
  at.sigma = {0, 0, 0, 0};
  const at::Tensor x_0 = batch(4);
  const at::Tensor x0_hat = d.x0_hat(at, mask->apply(at, x_0));
  CHECK(largest_difference(mask->apply(at, x0_hat), mask->apply(at, x_0)) < 1e-10);  // what is seen is kept
  const at::Tensor hidden = x0_hat - mask->apply(at, x0_hat);
  CHECK(hidden[1].abs().max().item<double>() > 1e-3);   // what is not seen is guessed from it
  CHECK(hidden[3].abs().max().item<double>() < 1e-12);  // nothing seen: the mean
}

TEST_CASE("wiener refuses a corruption that is not diagonal in its basis") {
  const Denoiser d("wiener", "", corruption("pixel_mask", "", sample));
  CHECK(failure([&] { d.x0_hat(mixed(1.0), batch(1)); }) ==
        "plugin \"wiener\": forward failed: the corruption is not diagonal in this basis; basis = \"dense\" takes any "
        "(parameter \"basis\")");
}

TEST_CASE("wiener refuses a dense basis for large samples") {
  CHECK(failure([] {
          Denoiser("wiener", "basis = \"dense\"", corruption("identity", "", {3, 32, 32}), {3, 32, 32});
        }) ==
        "plugin \"wiener\": create failed: \"dense\" takes samples of at most 1024 elements, these have 3072 "
        "(parameter \"basis\")");
}

TEST_CASE("wiener fitted to data has its mean and variances, or keeps the power law") {
  const std::shared_ptr<const Corruption> blur = corruption("heat_blur", "std_max = 2.0", sample);
  const at::Tensor all = noise({50, 2, 4, 3}, 6) + 0.5, mean = all.mean(0), centred = all - mean;
  const TestData data(2.0, {all.narrow(0, 0, 30), all.narrow(0, 30, 20)});

  Denoiser dct_fit("wiener", "source = \"data\"", blur);
  dct_fit.model.fit(dct_fit.params, data, *blur);
  CHECK(largest_difference(dct_fit.params.tensors()[0], mean) < 1e-13);
  CHECK(largest_difference(dct_fit.params.tensors()[1], dct(centred).square().mean(0)) < 1e-13);

  Denoiser dense("wiener", "source = \"data\"\nbasis = \"dense\"", blur);
  dense.model.fit(dense.params, data, *blur);
  const at::Tensor rows = centred.reshape({50, size});
  CHECK(largest_difference(dense.params.tensors()[1], at::matmul(rows.t(), rows) / 50) < 1e-13);

  Denoiser power_law("wiener", "", blur);
  const at::Tensor before = power_law.params.tensors()[1].clone();
  power_law.model.fit(power_law.params, data, *blur);
  CHECK(at::equal(power_law.params.tensors()[1], before));
  CHECK(failure([&] { dense.model.fit(dense.params, TestData(2.0), *blur); }) ==
        "plugin \"wiener\": fit failed: there is no data to fit to (parameter \"source\")");
}

TEST_CASE("empirical is the mean of its images, weighted by how well they explain the sample") {
  for (const std::string id : {"heat_blur", "pixel_mask"}) {
    const std::shared_ptr<const Corruption> c = corruption(id, "", sample);
    Denoiser d("empirical", "count = 5", c);
    const at::Tensor images = noise({5, 2, 4, 3}, 7);
    d.params.tensors()[0].copy_(images);
    Points at = mixed(c->level_max());
    at.sigma = {0.5, 0.6, 0.3, 0.7};  // large enough for weights without logarithms
    const at::Tensor x = batch(8), x0_hat = d.x0_hat(at, x);
    for (int64_t b = 0; b < 4; ++b) {
      const size_t i = static_cast<size_t>(b);
      double total = 0;
      at::Tensor sum = at::zeros({2, 4, 3}, at::kDouble);
      for (int64_t k = 0; k < 5; ++k) {
        const Points one = {{0}, {at.level[i]}, {at.sigma[i]}, {at.key[i]}};
        const double d2 = (x[b] - c->apply(one, images.narrow(0, k, 1))[0]).square().sum().item<double>();
        const double w = std::exp(-d2 / (2 * at.sigma[i] * at.sigma[i]));
        total += w;
        sum = sum + images[k] * w;
      }
      INFO(id << ", sample " << b);
      CHECK(largest_difference(x0_hat[b], sum / total) < 1e-12);
    }
  }
}

TEST_CASE("empirical without noise returns the image that the sample is a corruption of") {
  const std::shared_ptr<const Corruption> blur = corruption("heat_blur", "std_max = 2.0", sample);
  Denoiser d("empirical", "count = 4", blur);
  d.params.tensors()[0].copy_(batch(9));
  const Points at = points({0.1, 0.5, 1, 2}, 0.0);
  CHECK(largest_difference(d.x0_hat(at, blur->apply(at, batch(9))), batch(9)) < 1e-14);
}

namespace {
// Counts what it is asked for.
struct Counted : Corruption {
  explicit Counted(std::shared_ptr<const Corruption> c) : inner(std::move(c)) {}
  double level_max() const override { return inner->level_max(); }
  std::string level_unit() const override { return inner->level_unit(); }
  at::Tensor apply(const Points& at, const at::Tensor& x) const override {
    samples += x.size(0);
    return inner->apply(at, x);
  }
  at::Tensor adjoint(const Points& at, const at::Tensor& x) const override { return inner->adjoint(at, x); }
  std::shared_ptr<const Corruption> inner;
  mutable int64_t samples = 0;
};
}  // namespace

TEST_CASE("empirical corrupts its images once for a whole batch, unless the key matters") {
  for (const auto& [id, operators] : {std::pair{"heat_blur", 1}, {"pixel_mask", 4}}) {
    const auto counted = std::make_shared<Counted>(corruption(id, "", sample));
    const Denoiser d("empirical", "count = 100", counted);
    d.x0_hat(points({0.5, 0.5, 0.5, 0.5}, 0.1), batch(10));
    CHECK(counted->samples == 4 + 100 * operators);  // a probe for each sample, the set for each operator
  }
}

TEST_CASE("empirical takes the first images of the data, and says when there are too few") {
  const auto blur = corruption("heat_blur", "", sample);
  const TestData data(23.0, {batch(11), batch(12)});
  Denoiser d("empirical", "count = 6", nullptr);
  d.model.fit(d.params, data, *blur);
  CHECK(at::equal(d.params.tensors()[0], at::cat({batch(11), batch(12).narrow(0, 0, 2)})));
  Denoiser large("empirical", "count = 9", nullptr);
  CHECK(
      failure([&] { large.model.fit(large.params, data, *blur); }) ==
      "plugin \"empirical\": fit failed: wants 9 images, the data has 8: set count = 8 or less (parameter \"count\")");
}

TEST_CASE("the exact denoisers differentiate themselves") {
  const std::shared_ptr<const Corruption> blur = corruption("heat_blur", "std_max = 2.0", sample);
  const std::shared_ptr<const Corruption> mask = corruption("pixel_mask", "", sample);
  CHECK(vjp_error(Denoiser("wiener", "", blur), mixed(2.0)) < 1e-8);
  CHECK(vjp_error(Denoiser("wiener", "basis = \"pixel\"", mask), mixed(1.0)) < 1e-8);
  CHECK(vjp_error(Denoiser("wiener", "basis = \"dense\"", mask), mixed(1.0)) < 1e-8);
  CHECK(vjp_error(Denoiser("empirical", "count = 8", blur), mixed(2.0)) < 1e-6);
  CHECK(vjp_error(Denoiser("empirical", "count = 8", mask), mixed(1.0)) < 1e-6);
}

TEST_CASE("the exact denoisers have no gradients with respect to parameters") {
  const std::shared_ptr<const Corruption> blur = corruption("heat_blur", "std_max = 2.0", sample);
  for (const std::string id : {"wiener", "empirical"}) {
    const Denoiser d(id, id == "empirical" ? "count = 3" : "", blur);
    const ParamSet gradients = storage(d.model);
    CHECK(d.model.is_fitted());
    CHECK(failure([&] {
            auto [y, saved] = d.model.forward_saving(d.call(mixed(2.0)), batch(1));
            d.model.vjp(d.call(mixed(2.0)), batch(1), saved, batch(2), &gradients, true);
          }) == "plugin \"" + id + "\": vjp failed: is fitted, never trained: it has no parameter gradients");
  }
}
