// Text and bytes as they may stand in HTML and SVG.
#pragma once

#include <string>
#include <string_view>

namespace sdpipe {

// `text` as the content of an element or of a quoted attribute. Control characters, which no document may hold, become
// U+FFFD; tab and line ends stay.
std::string escape_markup(std::string_view text);

// RFC 4648, section 4: with padding, without line breaks.
std::string base64(std::string_view bytes);

}  // namespace sdpipe
