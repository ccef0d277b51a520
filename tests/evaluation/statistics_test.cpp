#include "core/evaluation/statistics.hpp"

#include <cmath>
#include <stdexcept>
#include <vector>

#include "tests/catch.h"

using namespace sdpipe;

namespace {

using Values = std::vector<double>;

// The density of Student's distribution, integrated by Simpson's rule over [-t, t].
double inside(double t, double degrees) {
  const double norm = std::exp(std::lgamma((degrees + 1) / 2) - std::lgamma(degrees / 2)) / std::sqrt(degrees * M_PI);
  const auto density = [&](double x) { return norm * std::pow(1 + x * x / degrees, -(degrees + 1) / 2); };
  const int pieces = 20'000;
  double sum = density(-t) + density(t);
  for (int i = 1; i < pieces; ++i) sum += (i % 2 ? 4 : 2) * density(-t + 2 * t * i / pieces);
  return sum * 2 * t / pieces / 3;
}

}  // namespace

TEST_CASE("The spread of values is over one less than there are, and one value has none") {
  CHECK(mean_of(Values{1, 2, 6}) == 3);
  CHECK(*deviation_of(Values{1, 2, 6}) == Approx(std::sqrt((4 + 1 + 9) / 2.0)).epsilon(1e-15));
  CHECK(*deviation_of(Values{4, 4}) == 0);
  CHECK(!deviation_of(Values{7}));
  CHECK(!deviation_of(Values{}));
  CHECK(std::isnan(mean_of(Values{})));
}

TEST_CASE("Student's t leaves 95 % of its own distribution inside") {
  for (const double degrees : {1.0, 2.0, 3.7, 9.0, 40.0}) {
    INFO(degrees);
    CHECK(inside(student_t95(degrees), degrees) == Approx(0.95).epsilon(1e-7));
  }
  CHECK(student_t95(1) == Approx(std::tan(0.475 * M_PI)).epsilon(1e-12));                   // Cauchy's
  CHECK(student_t95(2) == Approx(0.95 * std::sqrt(2 / (1 - 0.95 * 0.95))).epsilon(1e-12));  // closed form: 4.3027
  CHECK(student_t95(1e9) == Approx(1.959963984540054).epsilon(1e-8));                       // the normal's
}

TEST_CASE("Pairs are compared by their differences, whatever both have in common") {
  const Values a = {3, 5, 10}, b = {1, 4, 9};
  const Difference d = paired_difference(a, b);  // 2, 1, 1
  CHECK(d.is_paired);
  CHECK(d.mean == Approx(4.0 / 3));
  CHECK(*d.standard_error == Approx(std::sqrt(1.0 / 3) / std::sqrt(3.0)).epsilon(1e-14));
  CHECK(d.degrees_of_freedom == 2);
  const Values shifted_a = {103, -45, 1010}, shifted_b = {101, -46, 1009};
  const Difference shifted = paired_difference(shifted_a, shifted_b);
  CHECK(shifted.mean == Approx(d.mean).epsilon(1e-12));
  CHECK(*shifted.standard_error == Approx(*d.standard_error).epsilon(1e-12));
  CHECK(paired_difference(b, a).mean == Approx(-d.mean));
}

TEST_CASE("Without pairs the error is Welch's, and the degrees of freedom are Satterthwaite's") {
  const Difference d = welch_difference(Values{1, 2, 3}, Values{10, 14});
  // u = 1/3, v = 8/2
  CHECK(!d.is_paired);
  CHECK(d.mean == -10);
  CHECK(*d.standard_error == Approx(std::sqrt(1.0 / 3 + 4)).epsilon(1e-14));
  CHECK(d.degrees_of_freedom == Approx((13.0 / 3) * (13.0 / 3) / (1.0 / 9 / 2 + 16.0)).epsilon(1e-14));
  // Equal spreads and numbers: n_a + n_b - 2.
  CHECK(welch_difference(Values{1, 2, 3}, Values{5, 6, 7}).degrees_of_freedom == Approx(4).epsilon(1e-14));
  CHECK(welch_difference(Values{1, 1}, Values{2, 2, 2}).degrees_of_freedom == 3);
}

TEST_CASE("A difference is told apart beyond Student's t times its error, and not at it") {
  const double t = student_t95(2);
  CHECK(!Difference{t * 0.5, 0.5, 2, true}.is_told_apart());
  CHECK(Difference{std::nextafter(t * 0.5, 10), 0.5, 2, true}.is_told_apart());
  CHECK(Difference{-1.01 * t * 0.5, 0.5, 2, true}.is_told_apart());
  CHECK(!Difference{4, 1, 2, true}.is_told_apart());  // 4 < 4.30, where a normal distribution's 1.96 would do
  CHECK(Difference{4, 1, 3, true}.is_told_apart());   // 3.18
}

TEST_CASE("Values that are all equal are told apart by any difference, and by none they are not") {
  CHECK(!paired_difference(Values{1, 2, 3}, Values{1, 2, 3}).is_told_apart());
  CHECK(paired_difference(Values{2, 3, 4}, Values{1, 2, 3}).is_told_apart());
  CHECK(!welch_difference(Values{1, 1}, Values{1, 1}).is_told_apart());
  CHECK(welch_difference(Values{1, 1}, Values{2, 2}).is_told_apart());
}

TEST_CASE("One value a side has a difference, and no error that could tell it apart") {
  for (const Difference& d : {paired_difference(Values{9}, Values{1}), welch_difference(Values{9}, Values{1, 1.1})}) {
    CHECK(d.mean > 7);
    CHECK(!d.standard_error);
    CHECK(!d.is_told_apart());
  }
  CHECK_THROWS_AS(paired_difference(Values{1}, Values{1, 2}), std::invalid_argument);
  CHECK_THROWS_AS(paired_difference(Values{}, Values{}), std::invalid_argument);
  CHECK_THROWS_AS(welch_difference(Values{1}, Values{}), std::invalid_argument);
}
