// What the readers of data say of a file that they cannot take.
#pragma once

#include <fmt/format.h>

#include <filesystem>
#include <string>

#include "core/base/error.hpp"

namespace sdpipe {

// Throws DataError: the file's name, then what is wrong with it.
[[noreturn]] inline void fail(const std::filesystem::path& file, const std::string& what) {
  throw DataError(fmt::format("\"{}\" {}", file.string(), what));
}

}  // namespace sdpipe
