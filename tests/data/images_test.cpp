#include "core/data/images.hpp"

#include <algorithm>

#include "core/base/files.hpp"
#include "tests/data/files.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;

namespace {

FloatImage to_floats(const ByteImage& image) {
  FloatImage out{image.shape, {}};
  for (const uint8_t v : image.pixels) out.pixels.push_back(v / 255.0f);
  return out;
}

// The types of a PNG file's chunks.
std::vector<std::string> chunks(const std::string& png) {
  std::vector<std::string> types;
  for (size_t at = 8; at + 8 <= png.size();) {
    size_t length = 0;
    for (size_t i = at; i < at + 4; ++i) length = length << 8 | static_cast<uint8_t>(png[i]);
    types.push_back(png.substr(at + 4, 4));
    at += length + 12;
  }
  return types;
}

}  // namespace

TEST_CASE("a PNG gives back every byte that was written, grey and colour") {
  const TemporaryFolder folder;
  for (const int64_t channels : {1, 3}) {
    ByteImage image = ramp(channels, 16, 16);
    for (size_t i = 0; i < 256; ++i) image.pixels[i] = static_cast<uint8_t>(i);
    write_png(folder / "x.png", image);
    const FloatImage back = read_image(folder / "x.png");
    REQUIRE(back.shape == image.shape);
    REQUIRE(to_bytes(back).pixels == image.pixels);
    for (size_t i = 0; i < image.pixels.size(); ++i)
      REQUIRE(back.pixels[i] == Approx(image.pixels[i] / 255.0).epsilon(1e-6));
    REQUIRE(read_file(folder / "x.png") == encode_png(image));
  }
}

TEST_CASE("a PNG's bytes depend on the pixels alone: no time, no text") {
  const std::string png = encode_png(ramp(3, 8, 8));
  REQUIRE(png == encode_png(ramp(3, 8, 8)));
  REQUIRE(png != encode_png(plain(3, 8, 8, 0)));
  for (const std::string& type : chunks(png)) {
    INFO(type);
    REQUIRE(type != "tIME");
    REQUIRE(type.find("Xt") == std::string::npos);  // tEXt and its like
  }
  REQUIRE(chunks(png).front() == "IHDR");
  REQUIRE(chunks(png).back() == "IEND");
}

TEST_CASE("values outside 0 to 1 are clamped and the rest is rounded to the nearest byte") {
  const FloatImage image{{1, 1, 6}, {-0.5f, 0.0f, 0.499f / 255, 0.501f / 255, 1.0f, 7.0f}};
  REQUIRE(to_bytes(image).pixels == std::vector<uint8_t>{0, 0, 0, 1, 255, 255});
}

TEST_CASE("a crop takes exactly its square of every channel") {
  const FloatImage image = to_floats(ramp(3, 4, 5));
  const FloatImage square = crop(image, 2, 1, 3);
  REQUIRE(square.shape == ImageShape{3, 3, 3});
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t y = 0; y < 3; ++y)
      for (int64_t x = 0; x < 3; ++x)
        REQUIRE(square.pixels[(c * 3 + y) * 3 + x] == image.pixels[(c * 4 + y + 1) * 5 + x + 2]);
  REQUIRE_THROWS_AS(crop(image, 3, 1, 3), std::out_of_range);
  REQUIRE_THROWS_AS(crop(image, 0, -1, 3), std::out_of_range);
}

TEST_CASE("resizing keeps a picture of one value, whatever the sizes") {
  for (const int64_t size : {3, 8, 13, 40}) {
    const ByteImage out = to_bytes(resize(to_floats(plain(3, 20, 20, 77)), size));
    REQUIRE(out.shape == ImageShape{3, size, size});
    REQUIRE(std::all_of(out.pixels.begin(), out.pixels.end(), [](uint8_t v) { return v == 77; }));
  }
}

TEST_CASE("resizing does not alias: columns of black and white, one pixel wide, become grey") {
  ByteImage stripes = plain(1, 32, 32, 0);
  for (size_t i = 0; i < stripes.pixels.size(); i += 2) stripes.pixels[i] = 255;
  const FloatImage small = resize(to_floats(stripes), 8);
  for (int64_t y = 0; y < 8; ++y)
    for (int64_t x = 2; x < 6; ++x) REQUIRE(small.pixels[y * 8 + x] == Approx(0.5).margin(0.02));
}

TEST_CASE("resizing keeps left, right, top and bottom where they are, in every channel") {
  ByteImage image = plain(3, 32, 32, 0);
  for (int64_t y = 0; y < 32; ++y) {
    for (int64_t x = 0; x < 32; ++x) {
      image.pixels[y * 32 + x] = x < 16 ? 200 : 20;
      image.pixels[1024 + y * 32 + x] = y < 16 ? 150 : 50;
      image.pixels[2048 + y * 32 + x] = 90;
    }
  }
  const ByteImage small = to_bytes(resize(to_floats(image), 8));
  REQUIRE(small.pixels[8] == 200);
  REQUIRE(small.pixels[15] == 20);
  REQUIRE(small.pixels[64] == 150);
  REQUIRE(small.pixels[64 + 56] == 50);
  REQUIRE(small.pixels[128 + 27] == 90);
}

TEST_CASE("a picture that has the size already is not touched") {
  const FloatImage image = to_floats(ramp(3, 6, 6));
  REQUIRE(resize(image, 6).pixels == image.pixels);
}

TEST_CASE("a grid lays pictures out row by row with white between them") {
  const std::vector<ByteImage> images = {plain(1, 2, 2, 10), plain(1, 2, 2, 20), plain(1, 2, 2, 30)};
  const ByteImage grid = make_grid(images, 2, 1);
  REQUIRE(grid.shape == ImageShape{1, 5, 5});
  REQUIRE(grid.pixels == std::vector<uint8_t>{
                             10,  10,  255, 20,  20,   //
                             10,  10,  255, 20,  20,   //
                             255, 255, 255, 255, 255,  //
                             30,  30,  255, 255, 255,  //
                             30,  30,  255, 255, 255,  //
                         });
}

TEST_CASE("a grid is no wider than its pictures and keeps colours apart") {
  const std::vector<ByteImage> images = {ramp(3, 2, 3)};
  const ByteImage grid = make_grid(images, 8, 2);
  REQUIRE(grid.shape == images[0].shape);
  REQUIRE(grid.pixels == images[0].pixels);
  REQUIRE_THROWS_AS(make_grid(std::vector<ByteImage>{}, 4, 1), std::invalid_argument);
  REQUIRE_THROWS_AS(make_grid(std::vector<ByteImage>{plain(1, 2, 2, 0), plain(3, 2, 2, 0)}, 4, 1),
                    std::invalid_argument);
}
