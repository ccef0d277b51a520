// Pictures in memory and in files. The only user of OpenImageIO.
//
// Pixels are planar: channel, row, column. One channel is grey, three are red, green, blue, as the file encodes them
// (no colour management).
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace sdpipe {

struct ImageShape {
  int64_t channels = 0, height = 0, width = 0;

  int64_t elements() const { return channels * height * width; }
  bool operator==(const ImageShape&) const = default;
};

// "3 x 64 x 64": channels, height, width.
std::string to_text(const ImageShape& shape);

struct ByteImage {
  ImageShape shape;
  std::vector<uint8_t> pixels;
};

// 0 is black, 1 is white.
struct FloatImage {
  ImageShape shape;
  std::vector<float> pixels;
};

// Reads png, jpeg, webp, bmp or tiff, told apart by their first bytes, not by their names; the first picture of
// several. Transparency is laid over white, and the camera's orientation is applied. `channels` is 1, 3, or 0 for what
// the file has; colour becomes grey by the weights of ITU-R BT.601 on the encoded values.
// Throws DataError naming the file.
FloatImage read_image(const std::filesystem::path& file, int64_t channels = 0);

// Rounds to the nearest of 0 ... 255; values outside [0, 1] are clamped.
ByteImage to_bytes(const FloatImage& image);

// The square of `size` pixels whose first row and column are `top` and `left`; it must lie inside.
FloatImage crop(const FloatImage& image, int64_t left, int64_t top, int64_t size);

// To size x size with OpenImageIO's "lanczos3", which is widened when it shrinks a picture, so nothing aliases.
// The filter has negative lobes: results may leave [0, 1] a little.
FloatImage resize(const FloatImage& image, int64_t size);

// A PNG file: the bytes depend on the pixels alone (no time, no program name).
std::string encode_png(const ByteImage& image);

// Whole or absent. Throws std::system_error naming the file.
void write_png(const std::filesystem::path& file, const ByteImage& image);

// Pictures of one shape side by side, row by row, with white gaps of `padding` pixels between them.
ByteImage make_grid(std::span<const ByteImage> images, int64_t columns, int64_t padding = 2);

}  // namespace sdpipe
