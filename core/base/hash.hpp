// Content hashes, as lower-case hexadecimal text.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace sdpipe {

using Bytes = std::span<const std::byte>;

std::string sha256(Bytes bytes);
// Throws std::system_error where the file cannot be read.
std::string sha256_of_file(const std::filesystem::path& file);
// XXH3, 128 bits: fast enough for every tensor of a checkpoint.
std::string xxh3_128(Bytes bytes);

}  // namespace sdpipe
