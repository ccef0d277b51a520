#include "core/data/emoji.hpp"

#include <iterator>

#include "tests/data/files.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;

TEST_CASE("a missing emoji font is an error that names the package") {
  const TemporaryFolder folder;
  REQUIRE(data_error([&] { write_emoji("/no/such/font.ttf", folder.path()); }) ==
          "there is no font \"/no/such/font.ttf\"; on Debian and Ubuntu the package fonts-noto-color-emoji has it: "
          "apt-get install fonts-noto-color-emoji");
}

TEST_CASE("a file that is no font is refused by name") {
  const TemporaryFolder folder;
  write_text(folder / "font.ttf", "no font");
  REQUIRE(data_error([&] { write_emoji(folder / "font.ttf", folder / "out"); }) ==
          in_quotes(folder / "font.ttf") + " is not a font that FreeType reads");
}

TEST_CASE("every emoji of the installed font becomes a square picture over white") {
  if (!std::filesystem::exists(emoji_font)) {
    WARN("skipped: the package fonts-noto-color-emoji is not installed");
    return;
  }
  const TemporaryFolder folder;
  const int count = write_emoji(emoji_font, folder / "emoji");
  REQUIRE(count > 3000);
  REQUIRE(std::distance(std::filesystem::directory_iterator(folder / "emoji"), {}) == count);
  DataOptions options;
  options.type = "folder";
  options.path = folder / "emoji";
  options.limit = 200;
  const auto source = open_source(options);
  REQUIRE(source->shape() == ImageShape{3, 136, 136});
  for (int64_t i = 0; i < source->size(); ++i) REQUIRE(source->read(i).pixels.front() == 255);

  const ByteImage heart = to_bytes(read_image(folder / "emoji/u2764.png"));  // red in its middle
  const int64_t middle = 68 * 136 + 68, plane = 136 * 136;
  REQUIRE(heart.pixels[middle] > 200);
  REQUIRE(heart.pixels[plane + middle] < 100);
  REQUIRE(heart.pixels[2 * plane + middle] < 100);
}
