#include "core/data/emoji.hpp"

#include <fmt/format.h>
#include <ft2build.h>
#include FT_FREETYPE_H

#include <algorithm>
#include <fstream>
#include <map>
#include <system_error>

#include "core/base/error.hpp"
#include "core/data/bad_file.hpp"
#include "core/data/images.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;

class Font {
 public:
  explicit Font(const fs::path& file) {
    if (FT_Init_FreeType(&library_) != 0) throw RunError("FreeType cannot be started");
    if (FT_New_Face(library_, file.c_str(), 0, &face_) != 0) {
      FT_Done_FreeType(library_);
      fail(file, "is not a font that FreeType reads");
    }
  }
  ~Font() {
    FT_Done_Face(face_);
    FT_Done_FreeType(library_);
  }
  Font(const Font&) = delete;
  Font& operator=(const Font&) = delete;
  FT_Face face() const { return face_; }

 private:
  FT_Library library_ = nullptr;
  FT_Face face_ = nullptr;
};

// The lowest code point of every glyph that one code point reaches.
std::map<FT_UInt, FT_ULong> code_points(FT_Face face) {
  std::map<FT_UInt, FT_ULong> points;
  FT_UInt glyph = 0;
  for (FT_ULong point = FT_Get_First_Char(face, &glyph); glyph != 0; point = FT_Get_Next_Char(face, point, &glyph))
    points.emplace(glyph, point);
  return points;
}

// Blue, green, red, alpha with colours multiplied by alpha: c + (255 - a) lays them over white.
ByteImage over_white(const FT_Bitmap& bitmap) {
  const int64_t width = bitmap.width, height = bitmap.rows, side = std::max(width, height);
  const int64_t left = (side - width) / 2, top = (side - height) / 2;
  ByteImage image{{3, side, side}, std::vector<uint8_t>(static_cast<size_t>(3 * side * side), 255)};
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      const unsigned char* p = bitmap.buffer + y * bitmap.pitch + 4 * x;
      for (int64_t c = 0; c < 3; ++c) {
        const int value = std::min(p[2 - c] + 255 - p[3], 255);
        image.pixels[(c * side + top + y) * side + left + x] = static_cast<uint8_t>(value);
      }
    }
  }
  return image;
}

// Thousands of files that can be made again: no fsync for each.
void write_picture(const fs::path& file, const std::string& png) {
  std::ofstream out(file, std::ios::binary);
  out.write(png.data(), static_cast<std::streamsize>(png.size()));
  out.close();
  if (!out) throw DataError(fmt::format("cannot write \"{}\"", file.string()));
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw DataError(fmt::format("cannot make the folder \"{}\": {}", folder.string(), error.message()));
}

}  // namespace

int write_emoji(const fs::path& font_file, const fs::path& folder) {
  std::error_code error;
  if (!fs::is_regular_file(font_file, error))
    throw DataError(
        fmt::format("there is no font \"{}\"; on Debian and Ubuntu the package fonts-noto-color-emoji has "
                    "it: apt-get install fonts-noto-color-emoji",
                    font_file.string()));
  const Font font(font_file);
  FT_Face face = font.face();
  if (!FT_HAS_COLOR(face) || face->num_fixed_sizes < 1 || FT_Select_Size(face, 0) != 0)
    fail(font_file, "has no colour bitmaps; Noto Color Emoji is such a font");
  make_folder(folder);
  const auto points = code_points(face);
  int count = 0;
  for (FT_UInt glyph = 0; glyph < static_cast<FT_UInt>(face->num_glyphs); ++glyph) {
    if (FT_Load_Glyph(face, glyph, FT_LOAD_COLOR) != 0)
      throw DataError(fmt::format("glyph {} of \"{}\" is damaged", glyph, font_file.string()));
    const FT_Bitmap& bitmap = face->glyph->bitmap;
    if (bitmap.pixel_mode != FT_PIXEL_MODE_BGRA || bitmap.width == 0 || bitmap.rows == 0) continue;
    const auto point = points.find(glyph);
    const std::string name =
        point == points.end() ? fmt::format("glyph{:04}.png", glyph) : fmt::format("u{:04X}.png", point->second);
    write_picture(folder / name, encode_png(over_white(bitmap)));
    ++count;
  }
  return count;
}

}  // namespace sdpipe
