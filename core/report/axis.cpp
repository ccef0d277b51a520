#include "core/report/axis.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <string_view>

#include "core/report/numbers.hpp"

namespace sdpipe {
namespace {

constexpr double largest_shown = 1e300;
constexpr double same = 1e-9;  // a range this small, relative to its values, cannot be labelled

// digits * 10^exponent, correctly rounded, as neither multiplying nor pow is: 3 * 0.1 is not 0.3.
double decimal(double digits, int exponent) {
  const std::string text = fmt::format("{:.0f}e{}", digits + 0.0, exponent);  // + 0.0: no negative zero
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::vector<double> multiples(double low, double high, int digit, int exponent, int at_most) {
  const double step = decimal(digit, exponent);
  const double first = std::ceil(low / step - same), last = std::floor(high / step + same);
  std::vector<double> out;
  if (last - first + 1 > at_most) return out;
  for (double k = first; k <= last; ++k) out.push_back(decimal(k * digit, exponent));
  return out;
}

std::vector<double> powers(double low, double high, std::initializer_list<int> digits, int every) {
  std::vector<double> out;
  const auto from = static_cast<int>(std::floor(std::log10(low))), to = static_cast<int>(std::ceil(std::log10(high)));
  for (int exponent = from; exponent <= to; ++exponent) {
    if (exponent % every != 0) continue;
    for (int digit : digits) {
      const double value = decimal(digit, exponent);
      if (value >= low * (1 - same) && value <= high * (1 + same)) out.push_back(value);
    }
  }
  return out;
}

std::string superscript(int exponent) {
  constexpr std::array<std::string_view, 10> digits = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string out;
  for (char c : std::to_string(exponent)) out += c == '-' ? "⁻" : digits[static_cast<size_t>(c - '0')];
  return out;
}

std::string with_power_of_ten(double value) {
  if (value == 0) return "0";
  const std::string text = fmt::format("{:e}", value);
  const int exponent = std::stoi(text.substr(text.find('e') + 1));
  const std::string digits =
      fmt::format("{:.6g}", exponent < 0 ? value * std::pow(10.0, -exponent) : value / std::pow(10.0, exponent));
  return (digits == "1" ? "10" : digits + "×10") + superscript(exponent);
}

int decimals(double value) {
  const std::string text = fmt::format("{:.9f}", value);
  return static_cast<int>(text.find_last_not_of('0') - text.find('.'));
}

std::string fixed(double value, int decimals) {
  const std::string text = fmt::format("{:.{}f}", std::abs(value), decimals);
  const size_t point = std::min(text.find('.'), text.size());
  return grouped(std::stoull(text.substr(0, point))) + text.substr(point);
}

std::string typographic(double value, std::string text) {
  if (text.starts_with('-')) text.erase(0, 1);
  return (value < 0 ? "−" : "") + text;
}

void widen_equal(Axis& axis) {
  const double size = std::max(std::abs(axis.low), std::abs(axis.high));
  if (axis.high - axis.low > same * size && axis.high - axis.low > 1 / largest_shown) return;
  const double half = size > 1 / largest_shown ? size / 10 : 1;
  axis.low = axis.log ? axis.low / 2 : axis.low - half;
  axis.high = axis.log ? axis.high * 2 : axis.high + half;
}

void add_margin(Axis& axis, double margin) {
  if (axis.log) {
    const double factor = std::pow(10.0, margin * (std::log10(axis.high) - std::log10(axis.low)));
    axis.low /= factor;
    axis.high *= factor;
    return;
  }
  const double added = margin * (axis.high - axis.low);
  const bool from_zero = axis.low >= 0 && (axis.low < axis.high / 4 || axis.low < added);
  axis.low = from_zero ? 0 : axis.low - added;
  axis.high += added;
}

}  // namespace

bool Axis::can_show(double value) const {
  return std::isfinite(value) && std::abs(value) <= largest_shown && (!log || value >= 1 / largest_shown);
}

double Axis::position(double value) const {
  if (!can_show(value)) return std::numeric_limits<double>::quiet_NaN();
  if (log) return (std::log10(value) - std::log10(low)) / (std::log10(high) - std::log10(low));
  return (value - low) / (high - low);
}

Axis axis_over(const std::vector<double>& values, bool log, double margin) {
  Axis axis{log, std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};
  for (double value : values) {
    if (!axis.can_show(value)) continue;
    axis.low = std::min(axis.low, value);
    axis.high = std::max(axis.high, value);
  }
  if (axis.low > axis.high) return {log, log ? 0.1 : 0, 1};
  widen_equal(axis);
  if (margin > 0) add_margin(axis, margin);
  return axis;
}

std::vector<double> linear_ticks(double low, double high, int at_most) {
  const auto start = static_cast<int>(std::floor(std::log10((high - low) / at_most)));
  for (int exponent = start;; ++exponent) {
    for (int digit : {1, 2, 5}) {
      std::vector<double> ticks = multiples(low, high, digit, exponent, at_most);
      if (!ticks.empty()) return ticks;
    }
  }
}

std::vector<double> log_ticks(double low, double high, int at_most) {
  if (high / low < 10) return linear_ticks(low, high, at_most);
  const auto fits = [&](const std::vector<double>& ticks) { return static_cast<int>(ticks.size()) <= at_most; };
  if (auto ticks = powers(low, high, {1, 2, 5}, 1); fits(ticks)) return ticks;
  if (auto ticks = powers(low, high, {1, 3}, 1); fits(ticks)) return ticks;
  for (int scale = 1;; scale *= 10) {
    for (int digit : {1, 2, 3, 5}) {
      if (auto ticks = powers(low, high, {1}, digit * scale); fits(ticks)) return ticks;
    }
  }
}

std::vector<std::string> tick_labels(const std::vector<double>& ticks, bool log) {
  double smallest = 1, largest = 1;
  int common = 0;
  for (double tick : ticks) {
    if (tick == 0) continue;
    smallest = std::min(smallest, std::abs(tick));
    largest = std::max(largest, std::abs(tick));
    common = std::max(common, decimals(tick));
  }
  const bool scientific = largest >= 1e7 || smallest < 1e-4;
  std::vector<std::string> labels;
  for (double tick : ticks) {
    const std::string text = scientific ? with_power_of_ten(tick) : fixed(tick, log ? decimals(tick) : common);
    labels.push_back(typographic(tick, text));
  }
  return labels;
}

}  // namespace sdpipe
