#include "core/report/numbers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

namespace sdpipe {

std::string grouped(uint64_t value) {
  std::string digits = std::to_string(value);
  for (size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, 1, ',');
  return digits;
}

std::string readable_rate(double value) {
  if (value < 9.995) return fmt::format("{:.{}f}", value, value < 0.9995 ? 3 : 2);
  if (value < 99.95) return fmt::format("{:.1f}", value);
  return grouped(static_cast<uint64_t>(std::llround(std::min(value, 1e15))));
}

std::string readable_duration(double seconds) {
  const auto whole = static_cast<uint64_t>(std::llround(std::clamp(seconds, 0.0, 1e15)));
  const uint64_t days = whole / 86400, hours = whole / 3600 % 24, minutes = whole / 60 % 60;
  if (days) return fmt::format("{}d {:02}:{:02}:{:02}", days, hours, minutes, whole % 60);
  if (hours) return fmt::format("{}:{:02}:{:02}", hours, minutes, whole % 60);
  return fmt::format("{}:{:02}", minutes, whole % 60);
}

std::string readable_memory(uint64_t bytes) {
  const double mebibytes = static_cast<double>(bytes) / (1 << 20);
  if (mebibytes < 1023.5) return fmt::format("{:.0f} MiB", mebibytes);
  const double gibibytes = mebibytes / 1024;
  return fmt::format("{:.{}f} GiB", gibibytes, gibibytes < 9.95 ? 1 : 0);
}

namespace {

// Places behind the point that two digits of `error` take: 2 for 0.12 and for 0.0996, 0 for 12 and more.
int decimals_of(double error) {
  if (!std::isfinite(error)) return 0;
  const std::string rounded = fmt::format("{:.1e}", error);
  const int exponent = std::stoi(rounded.substr(rounded.find('e') + 1));
  return std::clamp(1 - exponent, 0, 12);
}

}  // namespace

std::string error_text(double error) { return error > 0 ? fmt::format("{:.{}f}", error, decimals_of(error)) : "0"; }

std::string with_error(double value, std::optional<double> error, bool sign) {
  if (!std::isfinite(value)) return "none";
  if (!error || !(*error > 0))
    return (sign ? fmt::format("{:+.4g}", value) : fmt::format("{:.4g}", value)) + (error ? " ± 0" : "");
  const int places = decimals_of(*error);
  const std::string text = sign ? fmt::format("{:+.{}f}", value, places) : fmt::format("{:.{}f}", value, places);
  return fmt::format("{} ± {}", text, error_text(*error));
}

std::string counted(uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", grouped(count), noun, count == 1 ? "" : "s");
}

size_t text_columns(std::string_view utf8) {
  const auto starts_letter = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; };
  return static_cast<size_t>(std::count_if(utf8.begin(), utf8.end(), starts_letter));
}

}  // namespace sdpipe
