// Numbers as people read them, in the report and on the progress line. Independent of the locale.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sdpipe {

// "1,234,567".
std::string grouped(uint64_t value);
// Three digits that matter below 100, whole numbers above: "0.125", "9.87", "45.6", "1,840".
std::string readable_rate(double value);
// "0:07", "12:34", "3:04:05", "2d 03:04:05"; part seconds are rounded.
std::string readable_duration(double seconds);
// "612 MiB", "1.4 GiB"; 10 GiB and more without decimals.
std::string readable_memory(uint64_t bytes);
// "4.31 ± 0.12", "54 ± 12": two digits of the error that matter, and the value to the same place. "4.308 ± 0" and
// "4.308" where the error is 0 and where there is none. With `sign`, "+0.11 ± 0.09".
std::string with_error(double value, std::optional<double> error, bool sign = false);
// "0.12", "12": two digits of an error that matter.
std::string error_text(double error);
// "3 seeds", "1 seed", "1,200 images".
std::string counted(uint64_t count, std::string_view noun);
// Code points: the columns a text takes on a terminal, or letters in a plot, for the alphabets that we write.
size_t text_columns(std::string_view utf8);

}  // namespace sdpipe
