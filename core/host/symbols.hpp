// The symbols that a shared library exports, read from the file: nothing of it is loaded or runs.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sdpipe {

// Names of the defined, visible symbols in the dynamic table of a 64-bit ELF file; nothing where `content` is not a
// whole one. Boost.DLL's library_info is no substitute: it reads the table that `strip` removes, and trusts every
// offset of a damaged file.
std::optional<std::vector<std::string>> exported_symbols(std::string_view content);

}  // namespace sdpipe
