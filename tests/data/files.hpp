// Generated files for the tests of data sets.
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "core/base/error.hpp"
#include "core/data/images.hpp"
#include "core/data/source.hpp"
#include "tests/temporary_folder.hpp"

namespace sdpipe {

using testing::TemporaryFolder;

inline void write_text(const std::filesystem::path& file, std::string_view content) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << content;
}

// A picture of one value.
inline ByteImage plain(int64_t channels, int64_t height, int64_t width, int value) {
  const ImageShape shape{channels, height, width};
  return {shape, std::vector<uint8_t>(static_cast<size_t>(shape.elements()), static_cast<uint8_t>(value))};
}

// Every pixel another value, for small shapes.
inline ByteImage ramp(int64_t channels, int64_t height, int64_t width) {
  ByteImage image = plain(channels, height, width, 0);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = static_cast<uint8_t>(i * 7 + 3);
  return image;
}

inline void write_picture(const std::filesystem::path& file, const ByteImage& image) {
  write_text(file, encode_png(image));
}

// As messages name a file.
inline std::string in_quotes(const std::filesystem::path& file) { return fmt::format("\"{}\"", file.string()); }

// What the DataError of `action` says; another exception goes through.
template <class F>
std::string data_error(F action) {
  try {
    action();
  } catch (const DataError& error) {
    return error.what();
  }
  return "no DataError";
}

template <class F>
std::string usage_error(F action) {
  try {
    action();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "no UsageError";
}

}  // namespace sdpipe
