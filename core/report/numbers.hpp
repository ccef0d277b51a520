// Numbers as people read them, in the report and on the progress line. Independent of the locale.
#pragma once

#include <cstdint>
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
// Code points: the columns a text takes on a terminal, or letters in a plot, for the alphabets that we write.
size_t text_columns(std::string_view utf8);

}  // namespace sdpipe
