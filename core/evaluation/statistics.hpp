// Means of repeated measurements, their spread, and whether two of them are told apart.
//
//   spread      s^2 = 1/(n - 1) sum_i (x_i - mean)^2
//   paired      d_i = a_i - b_i:   mean(d),           error s_d / sqrt(n),                n - 1 degrees of freedom
//   unpaired    Welch (1947):      mean(a) - mean(b), error sqrt(u + v), u = s_a^2/n_a, v = s_b^2/n_b,
//               degrees of freedom by Satterthwaite:  (u + v)^2 / (u^2/(n_a - 1) + v^2/(n_b - 1))
//
// Two means are told apart where |difference| > t error, t the quantile of Student's distribution that leaves 2.5 % on
// either side: at 95 %.
#pragma once

#include <optional>
#include <span>

namespace sdpipe {

// NaN of no values.
double mean_of(std::span<const double> values);
// The standard deviation over n - 1; nothing for fewer than two values.
std::optional<double> deviation_of(std::span<const double> values);

// The t which a variable of Student's distribution with `degrees_of_freedom` > 0 exceeds in size in 5 % of all cases:
// 12.71 for 1, 4.30 for 2, 1.96 without end.
double student_t95(double degrees_of_freedom);

struct Difference {
  double mean = 0;
  std::optional<double> standard_error;  // nothing where one measurement a side is all there is
  double degrees_of_freedom = 0;         // of that error
  bool is_paired = false;

  // False where no error is known.
  bool is_told_apart() const;
};

// a_i - b_i, i by i. Throws std::invalid_argument where there are none, or not as many on either side.
Difference paired_difference(std::span<const double> a, std::span<const double> b);
// Without pairs. The error needs two values on either side. Throws std::invalid_argument where a side has none.
Difference welch_difference(std::span<const double> a, std::span<const double> b);

}  // namespace sdpipe
