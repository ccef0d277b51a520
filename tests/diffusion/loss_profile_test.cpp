#include "core/diffusion/loss_profile.hpp"

#include <ATen/ops/matmul.h>
#include <ATen/ops/ones_like.h>

#include <cmath>
#include <numbers>

#include "tests/diffusion/restoration.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

constexpr int64_t side = 6;

// A process with data under it, the variances of which fall with frequency.
struct Calibrated {
  explicit Calibrated(const std::string& corruption)
      : setup(text(corruption), {1, side, side}),
        source(pictures()),
        data(source, *setup.corruption, at::TensorOptions(at::kDouble), 4096, 64, 3),
        x_0(data.batch(0)),
        mean(x_0.mean(0)) {}
  static Text text(const std::string& corruption) {
    Text text;
    const bool list = corruption.find("[[corruption]]") != std::string::npos;
    text.corruption = (list ? "[[corruption]]\n" : "[corruption]\n") + corruption + "\n";
    return text;
  }
  static at::Tensor pictures() {
    at::Tensor c = noise({64, 1, side, side}, 71);
    for (int64_t i = 0; i < side; ++i) {
      for (int64_t j = 0; j < side; ++j) c.select(2, i).select(2, j).mul_(1.5 / static_cast<double>(1 + i + j));
    }
    return inverse_dct(c);
  }
  LossShare share(double t, Weight weight, LossAt loss_at, double clean_weight = 0) const {
    const ObjectiveOptions options{weight, loss_at, 0.25, 1e-3, Times::uniform, 1, clean_weight};
    return LossProfile(setup.process, data, options, 3).at(t);
  }

  Setup setup;
  MemorySource source;
  DataCalibration data;
  at::Tensor x_0, mean;
};

double blur_of(double level, int64_t i, int64_t j) {
  const auto square = [](int64_t k) { return std::pow(std::numbers::pi * static_cast<double>(k) / side, 2); };
  return std::exp(-level * level * (square(i) + square(j)) / 2);
}

double weight_of(Weight weight, double sigma) {
  return weight == Weight::uniform ? 1 : weight == Weight::inverse_sigma ? 1 / sigma : 1 / (sigma * sigma);
}

}  // namespace

TEST_CASE("under a blur, loss and hidden share are the sums over DCT coefficients that the header writes down") {
  const Calibrated place("type = \"heat_blur\"\nstd_max = 2.0");
  const std::vector<double> p = numbers(dct(place.x_0 - place.mean).square().mean(0));
  for (const double t : {1.0, 0.5, 0.1}) {
    const double level = place.setup.process.path().level(t), sigma = place.setup.process.path().sigma(t);
    for (const Weight weight : {Weight::inverse_variance, Weight::inverse_sigma, Weight::uniform}) {
      for (const LossAt loss_at : {LossAt::corrupted, LossAt::clean, LossAt::next}) {
        for (const double clean_weight : {0.0, 0.2}) {
          double whole = 0, hidden = 0;
          for (int64_t i = 0; i < side; ++i) {
            for (int64_t j = 0; j < side; ++j) {
              const double c = blur_of(level, i, j), p_k = p[static_cast<size_t>(i * side + j)];
              const double seen = c * c * p_k + sigma * sigma, left = p_k * sigma * sigma / seen;
              double m2 = loss_at == LossAt::clean ? 1 : loss_at == LossAt::corrupted ? c * c : 0;
              for (int k = 0; loss_at == LossAt::next && k < 8; ++k) {
                const double s = std::max(t - 0.25 * (k + 0.5) / 8, 0.0);
                m2 += std::pow(blur_of(place.setup.process.path().level(s), i, j), 2) / 8;
              }
              const double of_k = (weight_of(weight, sigma) * m2 + clean_weight / sigma) * left;
              whole += of_k;
              if (c * c * p_k / seen < 0.1) hidden += of_k;
            }
          }
          const LossShare share = place.share(t, weight, loss_at, clean_weight);
          CAPTURE(t, weight, loss_at, clean_weight);
          CHECK(share.t == t);
          CHECK(share.loss == Approx(whole / (side * side)).epsilon(1e-9));
          CHECK(share.hidden.value() == Approx(hidden / whole).epsilon(1e-9));
        }
      }
    }
  }
}

TEST_CASE("the paper's loss is the mean visibility, and asks little of what is hidden; the clean loss asks for it") {
  const Calibrated place("type = \"heat_blur\"\nstd_max = 2.0");
  const LossShare paper = place.share(1, Weight::inverse_variance, LossAt::corrupted);
  const LossShare clean = place.share(1, Weight::inverse_sigma, LossAt::clean);
  CHECK(paper.loss < place.share(0.1, Weight::inverse_variance, LossAt::corrupted).loss);
  CHECK(place.share(0.001, Weight::inverse_variance, LossAt::corrupted).loss <= 1);
  CHECK(paper.hidden.value() < 0.2);
  CHECK(clean.hidden.value() > 2 * paper.hidden.value());
}

TEST_CASE("under a mask the loss is a mean over keys, in pixels") {
  const Calibrated place("type = \"pixel_mask\"");
  const at::Tensor p = (place.x_0 - place.mean).square().mean(0);
  const double sigma = place.setup.process.path().sigma(0.5);
  const at::Tensor shown =
      place.setup.process.corrupt(place.setup.process.at(0.5, place.data.keys(0)), at::ones_like(place.x_0));
  const at::Tensor left = p * (sigma * sigma) / (shown * p + sigma * sigma);
  const LossShare corrupted = place.share(0.5, Weight::uniform, LossAt::corrupted);
  const LossShare clean = place.share(0.5, Weight::uniform, LossAt::clean);
  CHECK(corrupted.loss == Approx((shown * left).mean().item<double>()).epsilon(1e-12));
  CHECK(corrupted.hidden.value() == 0);
  CHECK(clean.loss == Approx(left.mean().item<double>()).epsilon(1e-12));
  CHECK(clean.hidden.value() == Approx(((1 - shown) * left).sum().item<double>() / left.sum().item<double>()));
}

TEST_CASE("without a basis the loss is that of the estimate by conjugate gradients, and no visibility is known") {
  const Calibrated place(
      "type = \"heat_blur\"\nstd_max = 1.0\n[[corruption]]\ntype = \"pixel_mask\"\nfraction_max = 0.5");
  const LossShare share = place.share(0.5, Weight::uniform, LossAt::clean);
  CHECK(!share.hidden);
  // The dense formula: S is nearly diagonal in the DCT here.
  const int64_t d = side * side;
  const at::Tensor rows = (place.x_0 - place.mean).view({64, d}), s = at::matmul(rows.t(), rows) / 64;
  const double sigma = place.setup.process.path().sigma(0.5);
  double expected = 0;
  for (const uint64_t key : place.data.keys(0)) {
    const at::Tensor c = matrix_of(*place.setup.corruption, place.setup.process.path().level(0.5), key, side);
    const at::Tensor seen = at::matmul(c, s);
    const at::Tensor of_x = at::matmul(seen, c.t()) + at::eye(d, at::kDouble) * (sigma * sigma);
    expected += (s - at::matmul(seen.t(), at::linalg_solve(of_x, seen))).diagonal().mean().item<double>() / 64;
  }
  CHECK(share.loss > expected);
  CHECK(share.loss < 2.5 * expected);
}
