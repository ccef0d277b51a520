#include "core/diffusion/objective.hpp"

#include <cmath>

#include "tests/diffusion/setup.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

constexpr Weight weights[] = {Weight::inverse_variance, Weight::inverse_sigma, Weight::uniform};
constexpr LossAt places[] = {LossAt::corrupted, LossAt::clean, LossAt::next};

double weight_of(Weight weight, double sigma) {
  return weight == Weight::uniform ? 1 : weight == Weight::inverse_sigma ? 1 / sigma : 1 / (sigma * sigma);
}

// Equation 2 and the clean term as they are written, sample by sample.
double written_down(const Process& process, Weight weight, LossAt loss_at, double clean_weight,
                    const TrainingDraw& draw, const at::Tensor& e) {
  double sum = 0;
  for (int64_t b = 0; b < e.size(0); ++b) {
    const size_t i = static_cast<size_t>(b);
    const Points& at = loss_at == LossAt::next ? draw.next : draw.at;
    const at::Tensor e_b = e.slice(0, b, b + 1).contiguous();
    const at::Tensor r = loss_at == LossAt::clean ? e_b : process.corrupt(process.at(at.t[i], {at.key[i]}), e_b);
    const double sigma = draw.at.sigma[i], importance = draw.place[i].weight;
    for (const double v : numbers(r)) sum += importance * weight_of(weight, sigma) * v * v;
    for (const double v : numbers(e_b)) sum += importance * clean_weight / sigma * v * v;
  }
  return sum / static_cast<double>(e.numel());
}

// The worst disagreement between the gradient and central differences, in units of the largest gradient. The loss is
// quadratic: the differences are exact up to rounding.
double worst_gradient(const Objective& objective, const TrainingDraw& draw, const at::Tensor& x0_hat,
                      const at::Tensor& x_0) {
  const std::vector<double> gradient = numbers(objective.loss(draw, x0_hat, x_0).gradient);
  double worst = 0, largest = 0;
  for (size_t i = 0; i < gradient.size(); ++i) {
    const auto moved = [&](double by) {
      at::Tensor x = x0_hat.clone();
      x.data_ptr<double>()[i] += by;
      return objective.loss(draw, x, x_0).value;
    };
    worst = std::max(worst, std::abs((moved(0.5) - moved(-0.5)) - gradient[i]));
    largest = std::max(largest, std::abs(gradient[i]));
  }
  return worst / largest;
}

}  // namespace

TEST_CASE("the gradient in closed form is the derivative of the loss, and the loss is equation 2") {
  Text mask;
  mask.corruption = "[corruption]\ntype = \"pixel_mask\"\nfraction_max = 0.8\n";
  LossHistogram losses;  // larger in every bin: each sample has a weight of its own
  for (size_t k = 0; k < 10 * LossHistogram::bins; ++k)
    losses.record(static_cast<double>(k % LossHistogram::bins + 0.5) / LossHistogram::bins,
                  1.0 + k % LossHistogram::bins);
  for (const Text& text : {Text{}, mask}) {
    const Setup setup(text);
    const at::Tensor x_0 = noise({3, 1, 4, 4}, 1), x0_hat = noise({3, 1, 4, 4}, 2);
    for (const Weight weight : weights) {
      for (const LossAt loss_at : places) {
        for (const double clean_weight : {0.0, 0.3}) {
          const Objective objective(setup.process, {weight, loss_at, 0.25, 1e-3, Times::importance, 1, clean_weight});
          const TrainingDraw draw = objective.draw(x_0, 5, 30, 4, losses);
          const Loss loss = objective.loss(draw, x0_hat, x_0);
          CAPTURE(weight, loss_at, clean_weight);
          CHECK(loss.value ==
                Approx(written_down(setup.process, weight, loss_at, clean_weight, draw, x0_hat - x_0)).epsilon(1e-13));
          CHECK(worst_gradient(objective, draw, x0_hat, x_0) < 1e-11);
          double mean = 0;  // of what `measure` records, with 1/p put back
          for (size_t b = 0; b < 3; ++b) mean += loss.of_sample[b] * draw.place[b].weight / 3;
          CHECK(mean == Approx(loss.value).epsilon(1e-13));
        }
      }
    }
  }
}

TEST_CASE("a masked pixel gives no gradient under C_t, and one under the identity") {
  Text text;
  text.corruption = "[corruption]\ntype = \"pixel_mask\"\n";
  const Setup setup(text);
  const at::Tensor x_0 = noise({2, 1, 4, 4}, 1), x0_hat = noise({2, 1, 4, 4}, 2);
  const auto zeros = [&](LossAt loss_at) {
    const Objective objective(setup.process, {Weight::uniform, loss_at, 0.25, 1e-3});
    const TrainingDraw draw = objective.draw(x_0, 5, 0, 0);
    const std::vector<double> g = numbers(objective.loss(draw, x0_hat, x_0).gradient);
    const std::vector<double> seen = numbers(setup.process.corrupt(draw.at, x_0));
    int n = 0;
    for (size_t i = 0; i < g.size(); ++i) n += g[i] == 0 && seen[i] == 0;
    return std::pair(n, static_cast<int>(std::count(seen.begin(), seen.end(), 0.0)));
  };
  const auto [without, masked] = zeros(LossAt::corrupted);
  REQUIRE(masked > 0);
  CHECK(without == masked);
  CHECK(zeros(LossAt::clean).first == 0);
}

TEST_CASE("a clean term reaches what a mask hides from every loss") {
  Text text;
  text.corruption = "[corruption]\ntype = \"pixel_mask\"\n";
  const Setup setup(text);
  const at::Tensor x_0 = noise({2, 1, 4, 4}, 1), x0_hat = noise({2, 1, 4, 4}, 2);
  for (const LossAt loss_at : places) {
    const Objective objective(setup.process, {Weight::uniform, loss_at, 0.25, 1e-3, Times::uniform, 1, 0.1});
    const TrainingDraw draw = objective.draw(x_0, 5, 0, 0);
    const std::vector<double> g = numbers(objective.loss(draw, x0_hat, x_0).gradient);
    CHECK(std::count(g.begin(), g.end(), 0.0) == 0);
  }
}

TEST_CASE("a clean term of weight 0 changes no bit of value and gradient") {
  const Setup setup{Text{}};
  const at::Tensor x_0 = noise({2, 1, 4, 4}, 1), x0_hat = noise({2, 1, 4, 4}, 2);
  for (const LossAt loss_at : places) {
    const Objective plain(setup.process, {Weight::inverse_sigma, loss_at});
    const Objective zero(setup.process, {Weight::inverse_sigma, loss_at, 0.25, 1e-3, Times::uniform, 1, 0});
    const TrainingDraw draw = plain.draw(x_0, 5, 0, 0);
    const Loss a = plain.loss(draw, x0_hat, x_0), b = zero.loss(draw, x0_hat, x_0);
    CHECK(a.value == b.value);
    CHECK(bit_equal(a.gradient, b.gradient));
  }
}

TEST_CASE("an inverse weight is refused where sigma(t_min) is 0") {
  const Setup setup{Text{}};
  const Process process(setup.corruption, Path({0, 2}, {0, 0.5}));
  const std::string expected =
      "train.weight divides by sigma, which is 0 at t_min = 0; raise train.t_min, or set train.weight = \"uniform\"";
  CHECK(message_of<RunError>([&] {
          Objective(process, {Weight::inverse_variance, LossAt::clean, 0.25, 0});
        }) == expected);
  CHECK(message_of<RunError>([&] { Objective(process, {Weight::inverse_sigma, LossAt::clean, 0.25, 0}); }) == expected);
  CHECK_NOTHROW(Objective(process, {Weight::uniform, LossAt::clean, 0.25, 0}));
  CHECK_NOTHROW(Objective(process, {Weight::inverse_variance, LossAt::clean, 0.25, 1e-3}));
  const auto message = [&](Weight weight, double t_min) {
    return message_of<RunError>([&] {
      Objective(process, {weight, LossAt::corrupted, 0.25, t_min, Times::uniform, 1, 0.1});
    });
  };
  CHECK(
      message(Weight::uniform, 0) ==
      "train.clean_weight divides by sigma, which is 0 at t_min = 0; raise train.t_min, or set train.clean_weight = 0");
  CHECK(message(Weight::inverse_sigma, 0) ==
        "train.weight and train.clean_weight divide by sigma, which is 0 at t_min = 0; raise train.t_min, or set "
        "train.weight = \"uniform\" and train.clean_weight = 0");
  CHECK_NOTHROW(Objective(process, {Weight::uniform, LossAt::corrupted, 0.25, 1e-3, Times::uniform, 1, 0.1}));
}

TEST_CASE("what a step draws depends on seed, images seen and step, not on how the batch is split") {
  const Setup setup{Text{}};
  const Objective objective(setup.process, {});
  const at::Tensor x = noise({4, 1, 4, 4}, 1);
  const TrainingDraw whole = objective.draw(x, 9, 100, 25);
  for (int64_t b = 0; b < 4; ++b) {
    const size_t i = static_cast<size_t>(b);
    const TrainingDraw one = objective.draw(x.slice(0, b, b + 1), 9, 100 + static_cast<uint64_t>(b), 25);
    CHECK(one.at.t[0] == whole.at.t[i]);
    CHECK(one.at.level[0] == whole.at.level[i]);
    CHECK(one.next.t[0] == whole.next.t[i]);
    CHECK(one.at.key[0] == whole.at.key[i]);
    CHECK(one.next.key[0] == whole.at.key[i]);
    CHECK(bit_equal(one.eps[0], whole.eps[b]));
  }
  CHECK(objective.draw(x, 8, 100, 25).at.t != whole.at.t);
  CHECK(objective.draw(x, 9, 104, 25).at.t != whole.at.t);
  CHECK(objective.draw(x, 9, 100, 26).at.t != whole.at.t);
}

TEST_CASE("t is uniform in t_min to 1, and s at most next_step below it") {
  const Setup setup{Text{}};
  const Objective objective(setup.process, {Weight::uniform, LossAt::next, 0.25, 0.2});
  const int n = 4000;
  const TrainingDraw draw = objective.draw(noise({n, 1, 4, 4}, 1), 1, 0, 0);
  double mean = 0, square = 0, step = 0;
  for (int i = 0; i < n; ++i) {
    const double t = draw.at.t[static_cast<size_t>(i)], s = draw.next.t[static_cast<size_t>(i)];
    REQUIRE((t >= 0.2 && t <= 1 && s <= t && s >= std::max(t - 0.25, 0.0)));
    mean += t / n;
    square += t * t / n;
    step += (t - s) / n;
  }
  // Five standard errors of n uniform numbers: 0.8 / sqrt(12 n), and so on.
  CHECK(mean == Approx(0.6).margin(5 * 0.8 / std::sqrt(12.0 * n)));
  CHECK(square - mean * mean == Approx(0.64 / 12).margin(0.004));
  CHECK(step == Approx(0.125).margin(0.01));
}
