#include "core/report/axis.hpp"

#include <cmath>
#include <limits>

#include "tests/catch.h"

using namespace sdpipe;
using Values = std::vector<double>;
using Labels = std::vector<std::string>;

namespace {
const double infinity = std::numeric_limits<double>::infinity();
const double nan_value = std::numeric_limits<double>::quiet_NaN();
}  // namespace

TEST_CASE("linear ticks are the nearest doubles to round decimals") {
  CHECK(linear_ticks(0, 1, 6) == Values{0, 0.2, 0.4, 0.6, 0.8, 1});
  CHECK(linear_ticks(0, 1, 11) == Values{0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1});
  CHECK(linear_ticks(0, 1, 5) == Values{0, 0.5, 1});
  CHECK(linear_ticks(-1, 1, 5) == Values{-1, -0.5, 0, 0.5, 1});
  CHECK(linear_ticks(3.1, 6.9, 5) == Values{4, 5, 6});
  CHECK(linear_ticks(0, 64000, 8) == Values{0, 10000, 20000, 30000, 40000, 50000, 60000});
  CHECK(linear_ticks(1e-6, 3e-6, 3) == Values{1e-6, 2e-6, 3e-6});
}

TEST_CASE("linear ticks never hold a negative zero") {
  for (double tick : linear_ticks(-0.3, 0.3, 7)) CHECK_FALSE((tick == 0 && std::signbit(tick)));
}

TEST_CASE("linear ticks stay within the range and within their number for any range") {
  for (double low : {-1e300, -7.3, 0.0, 1e-12, 0.123, 99.5, 1e15}) {
    for (double width : {1e-2, 0.37, 1.0, 19.0, 1e6, 1e300}) {
      if (low + width * 1e-9 == low) continue;
      for (int at_most : {2, 5, 9}) {
        const Values ticks = linear_ticks(low, low + width, at_most);
        INFO(low << " + " << width << ", at most " << at_most);
        REQUIRE(!ticks.empty());
        CHECK(static_cast<int>(ticks.size()) <= at_most);
        CHECK(ticks.front() >= low - 1e-6 * width);
        CHECK(ticks.back() <= low + width + 1e-6 * width);
      }
    }
  }
}

TEST_CASE("logarithmic ticks thin out as decades become many") {
  CHECK(log_ticks(1, 100, 7) == Values{1, 2, 5, 10, 20, 50, 100});
  CHECK(log_ticks(1, 100, 6) == Values{1, 3, 10, 30, 100});
  CHECK(log_ticks(1, 100, 3) == Values{1, 10, 100});
  CHECK(log_ticks(2e-4, 0.5, 6) == Values{1e-3, 1e-2, 1e-1});
  CHECK(log_ticks(1e-6, 1, 4) == Values{1e-6, 1e-4, 1e-2, 1});
  CHECK(log_ticks(1e-6, 1, 3) == Values{1e-6, 1e-3, 1});
  CHECK(log_ticks(1e-300, 1e300, 3) == Values{1e-200, 1, 1e200});
}

TEST_CASE("logarithmic ticks within a decade are linear ones") {
  CHECK(log_ticks(2, 8, 7) == Values{2, 3, 4, 5, 6, 7, 8});
}

TEST_CASE("labels of a linear axis have the same decimals") {
  CHECK(tick_labels({0, 0.5, 1}, false) == Labels{"0.0", "0.5", "1.0"});
  CHECK(tick_labels({-0.25, 0, 0.25}, false) == Labels{"−0.25", "0.00", "0.25"});
  CHECK(tick_labels({0, 20000, 40000}, false) == Labels{"0", "20,000", "40,000"});
}

TEST_CASE("labels of a logarithmic axis have their own decimals") {
  CHECK(tick_labels({0.001, 0.01, 0.1, 1, 10, 1000}, true) == Labels{"0.001", "0.01", "0.1", "1", "10", "1,000"});
}

TEST_CASE("very large and very small labels are powers of ten") {
  CHECK(tick_labels({1e-6, 1e-4, 2e-2}, true) == Labels{"10⁻⁶", "10⁻⁴", "2×10⁻²"});
  CHECK(tick_labels({0, 5e7, -1.5e8}, false) == Labels{"0", "5×10⁷", "−1.5×10⁸"});
  CHECK(tick_labels({}, false).empty());
}

TEST_CASE("an axis covers the values that it can show") {
  const Axis axis = axis_over({3, nan_value, -1, infinity, -infinity, 1e301}, false, 0);
  CHECK(axis.low == -1);
  CHECK(axis.high == 3);
  CHECK(axis.position(-1) == 0);
  CHECK(axis.position(1) == 0.5);
  CHECK(axis.position(3) == 1);
  CHECK(std::isnan(axis.position(infinity)));
}

TEST_CASE("a logarithmic axis leaves out what is not positive") {
  const Axis axis = axis_over({0, -5, 0.01, 100}, true, 0);
  CHECK(axis.low == 0.01);
  CHECK(axis.high == 100);
  CHECK(axis.position(1) == Approx(0.5));
  CHECK(std::isnan(axis.position(0)));
  CHECK(std::isnan(axis.position(-1)));
}

TEST_CASE("equal values stand in the middle of a widened axis") {
  CHECK(axis_over({5, 5}, false, 0).position(5) == Approx(0.5));
  CHECK(axis_over({0}, false, 0).position(0) == 0.5);
  CHECK(axis_over({1e-12}, false, 0).position(1e-12) == Approx(0.5));
  CHECK(axis_over({7}, true, 0).position(7) == Approx(0.5));
  CHECK(axis_over({1e300}, false, 0).position(1e300) == Approx(0.5));
}

TEST_CASE("no values give the unit range") {
  CHECK(axis_over({nan_value}, false, 0.05).low == 0);
  CHECK(axis_over({}, false, 0.05).high == 1);
  CHECK(axis_over({-1}, true, 0.05).low == 0.1);
}

TEST_CASE("the margin never leads values that are not negative below zero") {
  CHECK(axis_over({1, 10}, false, 0.05).low == 0);
  CHECK(axis_over({0, 10}, false, 0.05).low == 0);
  CHECK(axis_over({0, 10}, false, 0.05).high == 10.5);
  CHECK(axis_over({5, 10}, false, 0.05).low == 4.75);
  CHECK(axis_over({-5, 5}, false, 0.1).low == -6);
}
