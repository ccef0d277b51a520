#include "core/evaluation/statistics.hpp"

#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <vector>

namespace sdpipe {

double mean_of(std::span<const double> values) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

std::optional<double> deviation_of(std::span<const double> values) {
  if (values.size() < 2) return std::nullopt;
  const double mean = mean_of(values);
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / static_cast<double>(values.size() - 1));
}

double student_t95(double degrees_of_freedom) {
  return boost::math::quantile(boost::math::students_t(degrees_of_freedom), 0.975);
}

bool Difference::is_told_apart() const {
  return standard_error && std::abs(mean) > student_t95(degrees_of_freedom) * *standard_error;
}

Difference paired_difference(std::span<const double> a, std::span<const double> b) {
  if (a.empty() || a.size() != b.size()) throw std::invalid_argument("pairs need as many values on either side");
  std::vector<double> differences;
  for (size_t i = 0; i < a.size(); ++i) differences.push_back(a[i] - b[i]);
  Difference difference{mean_of(differences), std::nullopt, static_cast<double>(a.size() - 1), true};
  if (const auto deviation = deviation_of(differences))
    difference.standard_error = *deviation / std::sqrt(static_cast<double>(a.size()));
  return difference;
}

Difference welch_difference(std::span<const double> a, std::span<const double> b) {
  if (a.empty() || b.empty()) throw std::invalid_argument("a difference needs values on either side");
  Difference difference{mean_of(a) - mean_of(b), std::nullopt, 0, false};
  const auto deviation_a = deviation_of(a), deviation_b = deviation_of(b);
  if (!deviation_a || !deviation_b) return difference;
  const double n = static_cast<double>(a.size()), m = static_cast<double>(b.size());
  const double u = *deviation_a * *deviation_a / n, v = *deviation_b * *deviation_b / m;
  difference.standard_error = std::sqrt(u + v);
  const double degrees = (u + v) * (u + v) / (u * u / (n - 1) + v * v / (m - 1));
  // Without any spread, or one whose square is 0, every number of degrees serves: the error is 0.
  difference.degrees_of_freedom = std::isfinite(degrees) ? degrees : n + m - 2;
  return difference;
}

}  // namespace sdpipe
