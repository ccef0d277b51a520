// Optimal transport between small sets, with known answers.
#include <algorithm>
#include <cmath>

#include "plugins/schedules/wasserstein/assignment.hpp"
#include "plugins/schedules/wasserstein/sinkhorn.hpp"
#include "tests/plugins/support.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

using Costs = std::vector<double>;

double cheapest_of_all_permutations(size_t n, const Costs& cost) {
  std::vector<size_t> order(n);
  for (size_t i = 0; i < n; ++i) order[i] = i;
  double cheapest = HUGE_VAL;
  do {
    double total = 0;
    for (size_t i = 0; i < n; ++i) total += cost[i * n + order[i]];
    cheapest = std::min(cheapest, total / static_cast<double>(n));
  } while (std::next_permutation(order.begin(), order.end()));
  return cheapest;
}

// Squared distances between two sets of n points in three dimensions.
Costs squared_distances(size_t n, const std::vector<double>& a, const std::vector<double>& b) {
  Costs cost(n * n);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      for (size_t k = 0; k < 3; ++k) cost[i * n + j] += std::pow(a[3 * i + k] - b[3 * j + k], 2);
    }
  }
  return cost;
}

}  // namespace

TEST_CASE("the assignment is the cheapest of all permutations") {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    const Costs cost = numbers(noise({6, 6}, seed) + 1);
    CHECK(wasserstein::optimal_assignment(6, cost) == Approx(cheapest_of_all_permutations(6, cost)).epsilon(1e-10));
  }
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const Costs cost = squared_distances(8, numbers(noise({24}, seed)), numbers(noise({24}, 100 + seed)));
    CHECK(wasserstein::optimal_assignment(8, cost) == Approx(cheapest_of_all_permutations(8, cost)).epsilon(1e-10));
  }
  CHECK(wasserstein::optimal_assignment(2, {0, 0, 0, 0}) == 0);
  CHECK(wasserstein::optimal_assignment(1, {3}) == Approx(3));
}

TEST_CASE("the entropic cost of two points against two has a closed form") {
  // By symmetry P is q / 2 on the diagonal and (1 - q) / 2 off it, q = 1 / (1 + exp(-c / epsilon)).
  for (const double c : {0.1, 1.0, 30.0}) {
    for (const double epsilon : {0.01, 1.0, 100.0}) {
      const auto result = wasserstein::sinkhorn(2, {0, c, c, 0}, epsilon, 1000);
      CHECK(result.cost == Approx(-epsilon * std::log((1 + std::exp(-c / epsilon)) / 2)).epsilon(1e-6));
      CHECK(result.marginal_error < wasserstein::sinkhorn_tolerance);
    }
  }
  CHECK(wasserstein::sinkhorn(1, {7}, 0.1, 10).cost == Approx(7));
  CHECK(wasserstein::sinkhorn(2, {0, 0, 0, 0}, 0.1, 10).cost == Approx(0).margin(1e-15));
}

TEST_CASE("the Sinkhorn divergence tends to the exact cost as its regularisation falls, coming nearer with each step") {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    const std::vector<double> a = numbers(noise({18}, seed)), b = numbers(noise({18}, 100 + seed) * 0.7 + 0.2);
    const double exact = std::sqrt(cheapest_of_all_permutations(6, squared_distances(6, a, b)));
    double error_before = HUGE_VAL;
    for (const double epsilon : {3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003}) {
      const auto entropic = [&](const auto& x, const auto& y) {
        const auto result = wasserstein::sinkhorn(6, squared_distances(6, x, y), epsilon, 100000);
        REQUIRE(result.marginal_error < wasserstein::sinkhorn_tolerance);
        return result.cost;
      };
      const double w2 = std::sqrt(entropic(a, b) - (entropic(a, a) + entropic(b, b)) / 2);
      const double error = std::abs(w2 / exact - 1);
      INFO("seed " << seed << ", epsilon " << epsilon << ": off by " << error << " of the exact distance");
      CHECK(error <= error_before + 1e-5);
      error_before = error;
    }
    CHECK(error_before < 1e-3);
  }
}

TEST_CASE("where the iterations do not suffice, the marginal error says so") {
  const Costs cost = squared_distances(6, numbers(noise({18}, 1)), numbers(noise({18}, 2)));
  CHECK(wasserstein::sinkhorn(6, cost, 1e-3, 1).marginal_error > wasserstein::sinkhorn_tolerance);
  CHECK(wasserstein::sinkhorn(6, cost, 1e-3, 100000).marginal_error < wasserstein::sinkhorn_tolerance);
}
