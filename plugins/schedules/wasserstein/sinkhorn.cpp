#include "plugins/schedules/wasserstein/sinkhorn.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace sdpipe::wasserstein {
namespace {

using Potential = std::vector<double>;

// f_i = -epsilon log(mean over j of exp((g_j - cost_ij) / epsilon)); the largest exponent is taken out, so that nothing
// overflows and not everything underflows. Returns the error of the marginal that it corrects.
double update(const std::vector<double>& cost, const Potential& g, double epsilon, Potential& f) {
  const size_t n = g.size();
  double error = 0;
  for (size_t i = 0; i < n; ++i) {
    const double* row = &cost[i * n];
    double largest = g[0] - row[0], sum = 0;
    for (size_t j = 1; j < n; ++j) largest = std::max(largest, g[j] - row[j]);
    for (size_t j = 0; j < n; ++j) sum += std::exp((g[j] - row[j] - largest) / epsilon);
    const double updated = -largest - epsilon * std::log(sum / static_cast<double>(n));
    error += std::abs(std::expm1((f[i] - updated) / epsilon));
    f[i] = updated;
  }
  return error / static_cast<double>(n);
}

std::vector<double> transposed(size_t n, const std::vector<double>& a) {
  std::vector<double> b(a.size());
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) b[j * n + i] = a[i * n + j];
  }
  return b;
}

double mean(const std::vector<double>& x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

}  // namespace

EntropicCost sinkhorn(size_t n, const std::vector<double>& cost, double epsilon, int64_t iterations) {
  const std::vector<double> cost_t = transposed(n, cost);
  Potential f(n, 0), g(n, 0);
  double error = 0;
  const auto iterate = [&](double at, int64_t limit, double tolerance) {
    do {
      error = update(cost, g, at, f);
      update(cost_t, f, at, g);
    } while (!(error < tolerance) && --limit > 0);
  };
  // Potentials of a larger epsilon are a near start for a smaller one; from nothing it would take about
  // largest cost / epsilon iterations.
  for (double at = *std::max_element(cost.begin(), cost.end()); at > epsilon; at /= 4) iterate(at, 50, 0.05);
  iterate(epsilon, iterations, sinkhorn_tolerance);
  return {mean(f) + mean(g), error};
}

}  // namespace sdpipe::wasserstein
