#include "core/diffusion/times.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/diffusion/objective.hpp"
#include "tests/diffusion/setup.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

constexpr size_t bins = LossHistogram::bins;
constexpr double n_bins = static_cast<double>(bins);

double middle_of(size_t bin) { return (static_cast<double>(bin) + 0.5) / n_bins; }

// Every bin has seen `times` losses of k + 1.
LossHistogram rising(int times = 10) {
  LossHistogram losses;
  for (size_t k = 0; k < bins; ++k) {
    for (int i = 0; i < times; ++i) losses.record(middle_of(k), static_cast<double>(k + 1));
  }
  return losses;
}

ObjectiveOptions drawn(Times times, int64_t batch = 1, double t_min = 0.2) {
  return {Weight::uniform, LossAt::clean, 0.25, t_min, times, batch};
}

at::Tensor images(int64_t n) { return noise({n, 1, 4, 4}, 1); }

}  // namespace

TEST_CASE("probabilities are nine tenths by the root of the mean squared loss and one tenth uniform") {
  const std::vector<double> p = rising().probabilities();
  for (size_t k = 0; k < bins; ++k)
    CHECK(p[k] == Approx(0.9 * static_cast<double>(k + 1) / (n_bins * (n_bins + 1) / 2) + 0.1 / n_bins).epsilon(1e-14));
  CHECK(std::accumulate(p.begin(), p.end(), 0.0) == Approx(1).epsilon(1e-14));
  LossHistogram two;  // the root mean square of 1 and 7 is 5, that of 3 and 3 is 3
  for (size_t k = 0; k < bins; ++k) {
    for (int i = 0; i < 10; ++i) two.record(middle_of(k), k > 0 ? 3 : i % 2 ? 1 : 7);
  }
  CHECK((two.probabilities()[0] - 0.1 / n_bins) / (two.probabilities()[1] - 0.1 / n_bins) ==
        Approx(5.0 / 3).epsilon(1e-13));
}

TEST_CASE("probabilities stay uniform until every bin has ten losses, and where nothing is lost") {
  LossHistogram losses = rising(9);
  const std::vector<double> uniform(bins, 1 / n_bins);
  for (size_t k = 0; k < bins; ++k) {
    CHECK(losses.probabilities() == uniform);
    losses.record(middle_of(k), static_cast<double>(k + 1));
  }
  CHECK(losses.probabilities() != uniform);
  LossHistogram nothing;
  for (size_t k = 0; k < 20 * bins; ++k) nothing.record(middle_of(k % bins), 0);
  CHECK(nothing.probabilities() == uniform);
}

TEST_CASE("a histogram takes a plain mean of a hundred losses and forgets older ones after that") {
  LossHistogram losses;
  for (int i = 1; i <= 100; ++i) losses.record(1, std::sqrt(i));  // 1 is in the last bin
  CHECK(losses.mean_square().back() == Approx(50.5).epsilon(1e-13));
  for (int i = 0; i < 300; ++i) losses.record(1, 0);
  CHECK(losses.mean_square().back() == Approx(50.5 * std::pow(0.99, 300)).epsilon(1e-11));
  CHECK(losses.count().back() == 100);
  CHECK(std::accumulate(losses.count().begin(), losses.count().end() - 1, 0.0) == 0);
}

TEST_CASE("a histogram of another size is refused") {
  CHECK(message_of<RunError>([] { LossHistogram(std::vector<double>(31), std::vector<double>(32)); }) ==
        "a loss histogram needs 32 bins");
}

TEST_CASE("each bin gets its probability, and weights make up for it exactly") {
  const std::vector<double> p = rising().probabilities();
  double from = 0;
  for (size_t k = 0; k < bins; ++k) {
    const double low = static_cast<double>(k) / n_bins;
    for (const double share : {0.01, 0.5, 0.99}) {
      const Place place = place_of(from + share * p[k], p);
      CHECK(place.at == Approx(low + share / n_bins).margin(1e-12));
      CHECK(place.weight * p[k] == Approx(1 / n_bins).epsilon(1e-14));
      CHECK(place.weight <= 10);
    }
    from += p[k];
  }
  CHECK(place_of(1 - 0x1p-53, p).at <= 1);
  CHECK(place_of(0, p).at == 0);
}

TEST_CASE("importance draws uniformly as long as nothing is measured, and where the loss is afterwards") {
  const Setup setup{Text{}};
  const Objective importance(setup.process, drawn(Times::importance)), uniform(setup.process, drawn(Times::uniform));
  const int64_t n = 4000;
  const TrainingDraw plain = uniform.draw(images(n), 5, 0, 3), first = importance.draw(images(n), 5, 0, 3),
                     later = importance.draw(images(n), 5, 0, 3, rising());
  double mean = 0, weighted = 0, expected = 0;
  const std::vector<double> p = rising().probabilities();
  for (size_t k = 0; k < bins; ++k) expected += p[k] * (0.2 + 0.8 * middle_of(k));
  for (size_t b = 0; b < static_cast<size_t>(n); ++b) {
    CHECK(first.at.t[b] == Approx(plain.at.t[b]).margin(1e-14));
    CHECK(first.place[b].weight == Approx(1).epsilon(1e-14));
    CHECK(plain.place[b].weight == 1);
    mean += later.at.t[b] / static_cast<double>(n);
    weighted += later.at.t[b] * later.place[b].weight / static_cast<double>(n);
  }
  // Five standard errors: t has a standard deviation below 0.23, and t weighted with 1/p below 1.
  CHECK(mean == Approx(expected).margin(5 * 0.23 / std::sqrt(double(n))));
  CHECK(weighted == Approx(0.6).margin(5 / std::sqrt(double(n))));
  CHECK(expected > 0.7);
}

TEST_CASE("an objective measures losses as if they had not been weighted, and for importance alone") {
  const Setup setup{Text{}};
  const at::Tensor x_0 = images(64), x0_hat = noise({64, 1, 4, 4}, 2);
  const Objective importance(setup.process, drawn(Times::importance)), uniform(setup.process, drawn(Times::uniform));
  LossHistogram losses, none;
  const TrainingDraw draw = importance.draw(x_0, 5, 0, 3, rising());
  const Loss loss = importance.loss(draw, x0_hat, x_0);
  importance.measure(draw, loss, losses);
  uniform.measure(draw, loss, none);
  CHECK(none.count() == std::vector<double>(bins));
  CHECK(std::accumulate(losses.count().begin(), losses.count().end(), 0.0) == 64);
  double value = 0;
  for (size_t b = 0; b < 64; ++b) {
    const int64_t i = static_cast<int64_t>(b);
    const double plain = (x0_hat[i] - x_0[i]).square().mean().item<double>();
    CHECK(loss.of_sample[b] == Approx(plain).epsilon(1e-13));
    value += draw.place[b].weight * plain / 64;
  }
  CHECK(loss.value == Approx(value).epsilon(1e-13));
}

TEST_CASE("low discrepancy places one t in each equal part of the path, whatever image comes first") {
  const Setup setup{Text{}};
  const Objective objective(setup.process, drawn(Times::low_discrepancy, 8));
  for (const uint64_t first : {0u, 8u, 13u}) {
    std::vector<double> t = objective.draw(images(8), 5, first, 3).at.t;
    std::sort(t.begin(), t.end());
    CHECK(t.front() < 0.3);
    for (size_t b = 0; b + 1 < 8; ++b) CHECK(t[b + 1] - t[b] == Approx(0.1).epsilon(1e-12));
  }
  CHECK(objective.draw(images(8), 5, 0, 4).at.t != objective.draw(images(8), 5, 0, 3).at.t);
  CHECK(objective.draw(images(8), 6, 0, 3).at.t != objective.draw(images(8), 5, 0, 3).at.t);
}

TEST_CASE("low discrepancy draws each t uniformly over the steps") {
  const Setup setup{Text{}};
  const Objective objective(setup.process, drawn(Times::low_discrepancy, 8));
  const uint32_t n = 2000;
  double mean = 0, square = 0;
  for (uint32_t step = 0; step < n; ++step) {
    const double t = objective.draw(images(1), 5, 3, step).at.t[0];
    mean += t / n;
    square += t * t / n;
  }
  CHECK(mean == Approx(0.6).margin(5 * 0.8 / std::sqrt(12.0 * n)));
  CHECK(square - mean * mean == Approx(0.64 / 12).margin(0.006));
}

TEST_CASE("no way of drawing t depends on how the batch is split") {
  const Setup setup{Text{}};
  for (const Times times : {Times::uniform, Times::low_discrepancy, Times::importance}) {
    const Objective objective(setup.process, drawn(times, 8));
    const TrainingDraw whole = objective.draw(images(8), 5, 16, 2, rising());
    for (int64_t b = 0; b < 8; ++b) {
      const TrainingDraw one = objective.draw(images(1), 5, 16 + static_cast<uint64_t>(b), 2, rising());
      CHECK(one.at.t[0] == whole.at.t[static_cast<size_t>(b)]);
      CHECK(one.place[0].weight == whole.place[static_cast<size_t>(b)].weight);
    }
  }
}
