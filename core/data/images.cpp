#include "core/data/images.hpp"

#include <OpenImageIO/filesystem.h>
#include <OpenImageIO/imagebuf.h>
#include <OpenImageIO/imagebufalgo.h>
#include <OpenImageIO/imageio.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <system_error>

#include "core/base/error.hpp"
#include "core/base/files.hpp"
#include "core/data/bad_file.hpp"

namespace sdpipe {
namespace {

// A picture that claims more is a damaged header or an attack on memory.
constexpr int64_t most_pixels = int64_t{1} << 28;

// The format by the first bytes of the file, or null. OpenImageIO would go by the name first and then try every
// format it knows, video and all.
const char* format_of(std::string_view head) {
  const auto starts = [&](std::string_view with) { return head.starts_with(with); };
  if (starts("\x89PNG\r\n\x1a\n")) return "png";
  if (starts("\xFF\xD8\xFF")) return "jpeg";
  if (starts("RIFF") && head.substr(std::min<size_t>(8, head.size())).starts_with("WEBP")) return "webp";
  if (starts("BM")) return "bmp";
  for (const char* version : {"*", "+"}) {  // 42 and 43: TIFF and BigTIFF
    if (starts("II" + std::string(version) + '\0') || starts(std::string("MM\0", 3) + version)) return "tiff";
  }
  return nullptr;
}

// A pipe or a device would block or never end.
std::string first_bytes(const std::filesystem::path& file) {
  std::error_code error;
  const auto status = std::filesystem::status(file, error);
  if (!std::filesystem::exists(status)) fail(file, fmt::format("cannot be read: {}", error.message()));
  if (!std::filesystem::is_regular_file(status)) fail(file, "is not a regular file");
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  char head[12] = {};
  in.read(head, sizeof head);
  if (!in.is_open() || in.bad()) fail(file, fmt::format("cannot be read: {}", std::strerror(errno ? errno : EIO)));
  return {head, static_cast<size_t>(in.gcount())};
}

// The interleaved pixels of a file as they are stored, alpha included.
struct Decoded {
  OIIO::ImageSpec spec;
  std::vector<float> pixels;
};

void check_layout(const std::filesystem::path& file, const OIIO::ImageSpec& spec) {
  const int colours = spec.nchannels - (spec.alpha_channel >= 0 ? 1 : 0);
  if ((colours != 1 && colours != 3) || (spec.alpha_channel >= 0 && spec.alpha_channel != colours))
    fail(file, fmt::format("has {} channels; sdpipe reads grey or RGB, each with or without alpha", spec.nchannels));
  if (spec.width < 1 || spec.height < 1 || int64_t{spec.width} * spec.height > most_pixels)
    fail(file, fmt::format("claims to be {} x {} pixels; sdpipe reads up to 2^28", spec.width, spec.height));
}

Decoded decode(const std::filesystem::path& file) {
  const std::string head = first_bytes(file);
  if (head.empty()) fail(file, "is empty");
  const char* format = format_of(head);
  if (!format) fail(file, "is not an image that sdpipe reads (png, jpeg, webp, bmp, tiff)");
  const auto reader = OIIO::ImageInput::create(format);
  if (!reader) fail(file, fmt::format("is a {} file, which this OpenImageIO was built without", format));
  Decoded image;
  OIIO::ImageSpec as_stored;
  as_stored.attribute("oiio:UnassociatedAlpha", 1);  // else colours are multiplied by alpha and rounded to bytes
  if (!reader->open(file.string(), image.spec, as_stored))
    fail(file, fmt::format("cannot be decoded: {}", reader->geterror()));
  reader->threads(1);  // the loader's workers are the threads
  check_layout(file, image.spec);
  image.pixels.resize(static_cast<size_t>(image.spec.image_pixels()) * image.spec.nchannels);
  if (!reader->read_image(0, 0, 0, image.spec.nchannels, OIIO::TypeFloat, image.pixels.data()) || reader->has_error())
    fail(file, fmt::format("cannot be decoded: {}", reader->geterror()));
  return image;
}

// Applies the orientation that a camera noted instead of turning the pixels.
void turn_upright(Decoded& image) {
  if (image.spec.get_int_attribute("Orientation", 1) == 1) return;
  OIIO::ImageSpec spec(image.spec.width, image.spec.height, image.spec.nchannels, OIIO::TypeFloat);
  spec.attribute("Orientation", image.spec.get_int_attribute("Orientation"));
  const OIIO::ImageBuf turned = OIIO::ImageBufAlgo::reorient(OIIO::ImageBuf(spec, image.pixels.data()), /*nthreads=*/1);
  std::vector<float> pixels(image.pixels.size());
  if (!turned.get_pixels(turned.roi(), OIIO::TypeFloat, pixels.data())) throw RunError(turned.geterror());
  image.spec.width = turned.spec().width;
  image.spec.height = turned.spec().height;
  image.pixels = std::move(pixels);
}

// Planar colours over white. Alpha a, colour c: a c + (1 - a), or c + (1 - a) where the file stores a c.
FloatImage over_white(const Decoded& image) {
  const int64_t all = image.spec.nchannels, pixels = int64_t{image.spec.width} * image.spec.height;
  const bool has_alpha = image.spec.alpha_channel >= 0;
  const bool multiplied = image.spec.get_int_attribute("oiio:UnassociatedAlpha") == 0;
  FloatImage out{{all - has_alpha, image.spec.height, image.spec.width}, {}};
  out.pixels.resize(static_cast<size_t>(out.shape.elements()));
  for (int64_t c = 0; c < out.shape.channels; ++c) {
    for (int64_t i = 0; i < pixels; ++i) {
      const float colour = image.pixels[i * all + c];
      const float alpha = has_alpha ? image.pixels[i * all + all - 1] : 1.0f;
      out.pixels[c * pixels + i] = (multiplied ? colour : alpha * colour) + (1.0f - alpha);
    }
  }
  return out;
}

FloatImage with_channels(FloatImage image, int64_t channels) {
  if (channels == 0 || channels == image.shape.channels) return image;
  const size_t plane = image.pixels.size() / image.shape.channels;
  std::vector<float> pixels(plane * channels);
  for (size_t i = 0; i < plane; ++i) {
    if (channels == 3) {
      for (size_t c = 0; c < 3; ++c) pixels[c * plane + i] = image.pixels[i];
    } else {
      const float* p = &image.pixels[i];
      pixels[i] = 0.299f * p[0] + 0.587f * p[plane] + 0.114f * p[2 * plane];
    }
  }
  image.shape.channels = channels;
  image.pixels = std::move(pixels);
  return image;
}

std::vector<uint8_t> interleaved(const ByteImage& image) {
  const size_t channels = image.shape.channels, plane = image.pixels.size() / channels;
  std::vector<uint8_t> out(image.pixels.size());
  for (size_t c = 0; c < channels; ++c)
    for (size_t i = 0; i < plane; ++i) out[i * channels + c] = image.pixels[c * plane + i];
  return out;
}

}  // namespace

std::string to_text(const ImageShape& shape) {
  return fmt::format("{} x {} x {}", shape.channels, shape.height, shape.width);
}

FloatImage read_image(const std::filesystem::path& file, int64_t channels) {
  if (channels != 0 && channels != 1 && channels != 3)
    throw UsageError(fmt::format("an image has 1 or 3 channels, not {}", channels));
  Decoded image = decode(file);
  turn_upright(image);
  return with_channels(over_white(image), channels);
}

ByteImage to_bytes(const FloatImage& image) {
  ByteImage out{image.shape, std::vector<uint8_t>(image.pixels.size())};
  std::transform(image.pixels.begin(), image.pixels.end(), out.pixels.begin(),
                 [](float v) { return static_cast<uint8_t>(std::lround(std::clamp(v, 0.0f, 1.0f) * 255.0f)); });
  return out;
}

FloatImage crop(const FloatImage& image, int64_t left, int64_t top, int64_t size) {
  const auto [channels, height, width] = image.shape;
  if (size < 1 || left < 0 || top < 0 || left + size > width || top + size > height)
    throw std::out_of_range("crop outside the image");
  FloatImage out{{channels, size, size}, {}};
  out.pixels.reserve(static_cast<size_t>(out.shape.elements()));
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t y = top; y < top + size; ++y) {
      const auto row = image.pixels.begin() + (c * height + y) * width + left;
      out.pixels.insert(out.pixels.end(), row, row + size);
    }
  }
  return out;
}

FloatImage resize(const FloatImage& image, int64_t size) {
  const auto [channels, height, width] = image.shape;
  if (height == size && width == size) return image;
  FloatImage out{{channels, size, size}, {}};
  out.pixels.resize(static_cast<size_t>(out.shape.elements()));
  const int side = static_cast<int>(size);
  const OIIO::ImageSpec from(static_cast<int>(width), static_cast<int>(height), 1, OIIO::TypeFloat);
  const OIIO::ImageSpec to(side, side, 1, OIIO::TypeFloat);
  for (int64_t c = 0; c < channels; ++c) {
    const OIIO::ImageBuf source(from, const_cast<float*>(image.pixels.data()) + c * height * width);
    OIIO::ImageBuf target(to, out.pixels.data() + c * size * size);
    if (!OIIO::ImageBufAlgo::resize(target, source, "lanczos3", 0.0f, OIIO::ROI::All(), /*nthreads=*/1))
      throw RunError(fmt::format("cannot resize an image: {}", target.geterror()));
  }
  return out;
}

std::string encode_png(const ByteImage& image) {
  OIIO::ImageSpec spec(static_cast<int>(image.shape.width), static_cast<int>(image.shape.height),
                       static_cast<int>(image.shape.channels), OIIO::TypeUInt8);
  const auto writer = OIIO::ImageOutput::create("png");
  if (!writer) throw RunError("this OpenImageIO was built without PNG");
  std::vector<unsigned char> bytes;
  OIIO::Filesystem::IOVecOutput memory(bytes);
  writer->set_ioproxy(&memory);
  if (!writer->open("memory.png", spec) || !writer->write_image(OIIO::TypeUInt8, interleaved(image).data()) ||
      !writer->close())
    throw RunError(fmt::format("cannot encode a PNG: {}", writer->geterror()));
  return {bytes.begin(), bytes.end()};
}

void write_png(const std::filesystem::path& file, const ByteImage& image) { write_file(file, encode_png(image)); }

ByteImage make_grid(std::span<const ByteImage> images, int64_t columns, int64_t padding) {
  if (images.empty() || columns < 1 || padding < 0) throw std::invalid_argument("an empty grid");
  const ImageShape one = images[0].shape;
  columns = std::min(columns, static_cast<int64_t>(images.size()));
  const int64_t rows = (static_cast<int64_t>(images.size()) + columns - 1) / columns;
  const int64_t step_y = one.height + padding, step_x = one.width + padding;
  ByteImage grid{{one.channels, rows * step_y - padding, columns * step_x - padding}, {}};
  grid.pixels.assign(static_cast<size_t>(grid.shape.elements()), 255);
  for (int64_t i = 0; i < static_cast<int64_t>(images.size()); ++i) {
    if (images[i].shape != one) throw std::invalid_argument("a grid of images of different shapes");
    for (int64_t row = 0; row < one.channels * one.height; ++row) {
      const int64_t c = row / one.height, y = i / columns * step_y + row % one.height;
      const auto to = grid.pixels.begin() + (c * grid.shape.height + y) * grid.shape.width + i % columns * step_x;
      std::copy_n(images[i].pixels.begin() + row * one.width, one.width, to);
    }
  }
  return grid;
}

}  // namespace sdpipe
