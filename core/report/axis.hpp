// One axis of a plot: its range, where its ticks stand, and their labels.
#pragma once

#include <string>
#include <vector>

namespace sdpipe {

struct Axis {
  bool log = false;
  double low = 0, high = 1;  // low < high; both positive where log

  // Whether a value has a place on this axis: finite (beyond 1e300 a difference could overflow), and positive where
  // log.
  bool can_show(double value) const;
  // 0 at low, 1 at high. NaN for a value that cannot be shown.
  double position(double value) const;
};

// The range of the values that can be shown, widened where they are all equal. `margin` is the share of the range that
// is added at each end; a linear axis of non-negative values is never widened below zero, and begins at zero where the
// lowest value is under a quarter of the highest. Without values: 0 to 1, or 0.1 to 1 where log.
Axis axis_over(const std::vector<double>& values, bool log, double margin);

// The multiples of the smallest step out of {1, 2, 5} * 10^k of which at most `at_most` (>= 2) lie in [low, high].
// Each is the double nearest to its decimal.
std::vector<double> linear_ticks(double low, double high, int at_most);

// In [low, high], low > 0: the densest of {1, 2, 5} * 10^k, {1, 3} * 10^k, and every 1st, 2nd, 3rd, 5th, 10th, ...
// power of ten that has at most `at_most` members; linear ticks within a range of less than a decade.
std::vector<double> log_ticks(double low, double high, int at_most);

// "0.25", "12,500", "2×10⁻⁶": powers of ten where the largest is 10^7 or more or the smallest is below 10^-4. Otherwise
// with as many decimals as the ticks need: the same for all on a linear axis, each its own where log.
std::vector<std::string> tick_labels(const std::vector<double>& ticks, bool log);

}  // namespace sdpipe
