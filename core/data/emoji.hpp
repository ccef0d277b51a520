// Colour emoji as a data set of real pictures that a package ships. The only user of FreeType.
#pragma once

#include <filesystem>

namespace sdpipe {

inline constexpr const char* emoji_font = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf";

// Writes every colour bitmap of `font` into `folder` (made if missing) as a PNG over white, padded to a square, and
// returns how many there are. A file is named after its code point (u1F600.png), or after its glyph's number where
// only a sequence of code points reaches it (glyph0123.png). Throws DataError where the font is missing, has no colour
// bitmaps, or a file cannot be written.
int write_emoji(const std::filesystem::path& font, const std::filesystem::path& folder);

}  // namespace sdpipe
