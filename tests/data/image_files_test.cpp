// Files of every format, written by OpenImageIO itself, and files that are none.
#include <OpenImageIO/imageio.h>

#include <cstdlib>

#include "core/base/files.hpp"
#include "core/data/images.hpp"
#include "tests/data/files.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;

namespace {

// Interleaved pixels of any type to a file; the format goes by `format`.
template <class T>
void write_with(const std::string& format, const std::filesystem::path& file, OIIO::ImageSpec spec,
                const std::vector<T>& pixels) {
  const auto writer = OIIO::ImageOutput::create(format);
  REQUIRE(writer);
  REQUIRE(writer->open(file.string(), spec));
  REQUIRE(writer->write_image(OIIO::BaseTypeFromC<T>::value, pixels.data()));
  REQUIRE(writer->close());
}

// 8 x 6 pixels of one colour, interleaved.
std::vector<uint8_t> colour(std::vector<uint8_t> one) {
  std::vector<uint8_t> out;
  for (int i = 0; i < 48; ++i) out.insert(out.end(), one.begin(), one.end());
  return out;
}

std::vector<int> first_pixel(const FloatImage& image) {
  const ByteImage bytes = to_bytes(image);
  std::vector<int> out;
  for (int64_t c = 0; c < image.shape.channels; ++c)
    out.push_back(bytes.pixels[c * image.shape.height * image.shape.width]);
  return out;
}

}  // namespace

TEST_CASE("png, jpeg, webp, bmp and tiff are read, whatever the name says") {
  const TemporaryFolder folder;
  for (const std::string format : {"png", "jpeg", "webp", "bmp", "tiff"}) {
    INFO(format);
    OIIO::ImageSpec spec(8, 6, 3, OIIO::TypeUInt8);
    spec.attribute("Compression", format == "webp" ? "lossless" : format == "jpeg" ? "jpeg:100" : "none");
    write_with(format, folder / ("a." + format), spec, colour({200, 100, 50}));
    std::filesystem::rename(folder / ("a." + format), folder / "a.png");
    const FloatImage image = read_image(folder / "a.png");
    REQUIRE(image.shape == ImageShape{3, 6, 8});
    const std::vector<int> pixel = first_pixel(image);
    const int tolerance = format == "jpeg" || format == "webp" ? 3 : 0;
    REQUIRE(std::abs(pixel[0] - 200) <= tolerance);
    REQUIRE(std::abs(pixel[1] - 100) <= tolerance);
    REQUIRE(std::abs(pixel[2] - 50) <= tolerance);
  }
}

TEST_CASE("transparency is laid over white: alpha colour + 1 - alpha") {
  const TemporaryFolder folder;
  for (const std::string format : {"png", "tiff"}) {
    INFO(format);
    OIIO::ImageSpec spec(8, 6, 4, OIIO::TypeUInt8);
    spec.alpha_channel = 3;
    spec.attribute("oiio:UnassociatedAlpha", 1);
    write_with(format, folder / "a", spec, colour({200, 100, 0, 51}));                  // alpha 0.2
    REQUIRE(first_pixel(read_image(folder / "a")) == std::vector<int>{244, 224, 204});  // 0.2 x 200 + 204, ...
  }
}

TEST_CASE("a webp file's transparency is laid over white too") {
  // 8 x 6 pixels of (200, 100, 0, 51) by libwebp's lossless encoder: OpenImageIO 2.4 alters colours when it writes.
  const unsigned char webp[] = {0x52, 0x49, 0x46, 0x46, 0x22, 0x00, 0x00, 0x00, 0x57, 0x45, 0x42, 0x50, 0x56, 0x50,
                                0x38, 0x4c, 0x15, 0x00, 0x00, 0x00, 0x2f, 0x07, 0x40, 0x01, 0x10, 0x07, 0x50, 0xb2,
                                0x22, 0x47, 0x67, 0x02, 0x00, 0x41, 0xf8, 0xdf, 0x36, 0x11, 0xd1, 0xff, 0x10, 0x00};
  const TemporaryFolder folder;
  write_text(folder / "a.webp", std::string(std::begin(webp), std::end(webp)));
  const FloatImage image = read_image(folder / "a.webp");
  REQUIRE(image.shape == ImageShape{3, 6, 8});
  REQUIRE(first_pixel(image) == std::vector<int>{244, 224, 204});
}

TEST_CASE("colours that a tiff stores multiplied by alpha are not multiplied again") {
  const TemporaryFolder folder;
  OIIO::ImageSpec spec(8, 6, 4, OIIO::TypeUInt8);
  spec.alpha_channel = 3;
  write_with("tiff", folder / "a.tiff", spec, colour({40, 20, 0, 51}));
  REQUIRE(first_pixel(read_image(folder / "a.tiff")) == std::vector<int>{244, 224, 204});
}

TEST_CASE("what is fully transparent is white, in grey files too") {
  const TemporaryFolder folder;
  OIIO::ImageSpec spec(8, 6, 2, OIIO::TypeUInt8);
  spec.channelnames = {"Y", "A"};
  spec.alpha_channel = 1;
  write_with("png", folder / "a.png", spec, colour({0, 0}));
  const FloatImage image = read_image(folder / "a.png");
  REQUIRE(image.shape == ImageShape{1, 6, 8});
  REQUIRE(image.pixels == std::vector<float>(48, 1.0f));
}

TEST_CASE("16 bits a channel are read to full precision") {
  const TemporaryFolder folder;
  write_with("png", folder / "a.png", OIIO::ImageSpec(8, 6, 1, OIIO::TypeUInt16), std::vector<uint16_t>(48, 12345));
  REQUIRE(read_image(folder / "a.png").pixels[0] == Approx(12345.0 / 65535).epsilon(1e-6));
}

TEST_CASE("grey becomes three equal channels, colour becomes grey by BT.601") {
  const TemporaryFolder folder;
  write_picture(folder / "grey.png", plain(1, 2, 2, 120));
  REQUIRE(first_pixel(read_image(folder / "grey.png", 3)) == std::vector<int>{120, 120, 120});
  write_with("png", folder / "colour.png", OIIO::ImageSpec(8, 6, 3, OIIO::TypeUInt8), colour({200, 100, 50}));
  const FloatImage grey = read_image(folder / "colour.png", 1);
  REQUIRE(grey.shape == ImageShape{1, 6, 8});
  REQUIRE(grey.pixels[0] * 255 == Approx(0.299 * 200 + 0.587 * 100 + 0.114 * 50));
}

TEST_CASE("the orientation that a camera noted is applied") {
  const TemporaryFolder folder;
  OIIO::ImageSpec spec(8, 6, 1, OIIO::TypeUInt8);
  spec.attribute("Orientation", 6);  // to be turned by 90 degrees clockwise
  std::vector<uint8_t> pixels(48, 0);
  pixels[5 * 8] = 255;  // bottom left goes to top left
  write_with("tiff", folder / "a.tiff", spec, pixels);
  const FloatImage image = read_image(folder / "a.tiff");
  REQUIRE(image.shape == ImageShape{1, 8, 6});
  REQUIRE(image.pixels[0] == 1.0f);
  REQUIRE(std::count(image.pixels.begin(), image.pixels.end(), 1.0f) == 1);
}

TEST_CASE("a file that is no image is refused by name") {
  const TemporaryFolder folder;
  const auto message = [&](const char* name) { return data_error([&] { read_image(folder / name); }); };
  const auto named = [&](const char* name) { return in_quotes(folder / name) + " "; };
  write_text(folder / "empty.png", "");
  write_text(folder / "text.png", "this is no picture");
  std::filesystem::create_directory(folder / "folder.png");
  REQUIRE(message("none.png") == named("none.png") + "cannot be read: No such file or directory");
  REQUIRE(message("empty.png") == named("empty.png") + "is empty");
  REQUIRE(message("folder.png") == named("folder.png") + "is not a regular file");
  REQUIRE(message("text.png") == named("text.png") + "is not an image that sdpipe reads (png, jpeg, webp, bmp, tiff)");
}

TEST_CASE("a file cut short is refused by name in every format") {
  const TemporaryFolder folder;
  std::vector<uint8_t> noise(3 * 64 * 64);
  uint32_t x = 1;
  for (uint8_t& v : noise) v = static_cast<uint8_t>((x = x * 1664525u + 1013904223u) >> 24);
  for (const std::string format : {"png", "jpeg", "webp", "bmp", "tiff"}) {
    INFO(format);
    write_with(format, folder / "a", OIIO::ImageSpec(64, 64, 3, OIIO::TypeUInt8), noise);
    const std::string whole = read_file(folder / "a");
    for (const size_t length : {size_t{20}, whole.size() / 2}) {
      write_text(folder / "cut", whole.substr(0, length));
      const std::string message = data_error([&] { read_image(folder / "cut"); });
      REQUIRE(message.starts_with(in_quotes(folder / "cut") + " "));
    }
  }
}

TEST_CASE("an image of five channels is refused with their number") {
  const TemporaryFolder folder;
  OIIO::ImageSpec spec(8, 6, 5, OIIO::TypeUInt8);
  spec.alpha_channel = -1;
  write_with("tiff", folder / "a.tiff", spec, std::vector<uint8_t>(240, 9));
  REQUIRE(data_error([&] { read_image(folder / "a.tiff"); }) ==
          in_quotes(folder / "a.tiff") + " has 5 channels; sdpipe reads grey or RGB, each with or without alpha");
}
