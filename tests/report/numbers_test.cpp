#include "core/report/numbers.hpp"

#include <cmath>

#include "tests/catch.h"

using namespace sdpipe;

TEST_CASE("whole numbers are grouped by thousands") {
  CHECK(grouped(0) == "0");
  CHECK(grouped(999) == "999");
  CHECK(grouped(1000) == "1,000");
  CHECK(grouped(123456) == "123,456");
  CHECK(grouped(18446744073709551615u) == "18,446,744,073,709,551,615");
}

TEST_CASE("a rate keeps three digits and rounds across its borders") {
  CHECK(readable_rate(0.1254) == "0.125");
  CHECK(readable_rate(0.9996) == "1.00");
  CHECK(readable_rate(9.994) == "9.99");
  CHECK(readable_rate(9.996) == "10.0");
  CHECK(readable_rate(99.94) == "99.9");
  CHECK(readable_rate(99.96) == "100");
  CHECK(readable_rate(1839.6) == "1,840");
}

TEST_CASE("a duration shows the units it needs") {
  CHECK(readable_duration(0) == "0:00");
  CHECK(readable_duration(59.4) == "0:59");
  CHECK(readable_duration(59.5) == "1:00");
  CHECK(readable_duration(754) == "12:34");
  CHECK(readable_duration(3600 * 3 + 245) == "3:04:05");
  CHECK(readable_duration(86400 * 2 + 3600 * 3 + 245) == "2d 03:04:05");
  CHECK(readable_duration(-1) == "0:00");
}

TEST_CASE("memory is in MiB, then in GiB") {
  CHECK(readable_memory(uint64_t{612} << 20) == "612 MiB");
  CHECK(readable_memory(uint64_t{1023} << 20) == "1023 MiB");
  CHECK(readable_memory(uint64_t{1536} << 20) == "1.5 GiB");
  CHECK(readable_memory(uint64_t{80} << 30) == "80 GiB");
}

TEST_CASE("a text is as wide as its code points are many") {
  CHECK(text_columns("") == 0);
  CHECK(text_columns("sigma") == 5);
  CHECK(text_columns("σ(t)") == 4);
  CHECK(text_columns("10⁻⁶") == 4);
}

TEST_CASE("A value is written to the place of its error's second digit") {
  CHECK(with_error(4.3123, 0.1234) == "4.31 ± 0.12");
  CHECK(with_error(13.25, 0.3) == "13.25 ± 0.30");
  CHECK(with_error(54.4, 12.3) == "54 ± 12");
  CHECK(with_error(1234.5, 678) == "1234 ± 678");
  CHECK(with_error(0.02204, 0.00031) == "0.02204 ± 0.00031");
  CHECK(with_error(5, 0.0996) == "5.00 ± 0.10");
  CHECK(with_error(5, 9.96) == "5 ± 10");
  CHECK(with_error(0.1071, 0.0949, true) == "+0.107 ± 0.095");
  CHECK(with_error(-8.9, 0.21, true) == "-8.90 ± 0.21");
}

TEST_CASE("Without an error a value has four digits, and an error of 0 is told") {
  CHECK(with_error(4.30812, std::nullopt) == "4.308");
  CHECK(with_error(12, std::nullopt, true) == "+12");
  CHECK(with_error(4.30812, 0.0) == "4.308 ± 0");
  CHECK(with_error(std::nan(""), 1.0) == "none");
}

TEST_CASE("A number of things is one or several") {
  CHECK(counted(1, "seed") == "1 seed");
  CHECK(counted(0, "seed") == "0 seeds");
  CHECK(counted(1200, "real image") == "1,200 real images");
}
