// Files that are whole or absent: write to a temporary name, fsync, rename, fsync the folder.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "core/base/hash.hpp"

namespace sdpipe {

// The whole file. Throws std::system_error naming the file.
std::string read_file(const std::filesystem::path& file);

// Writes `file` so that a reader sees the old content or the new, never a part. Throws std::system_error naming the
// file; then the old content is untouched and no temporary file is left.
void write_file(const std::filesystem::path& file, std::string_view content);

// Makes `folder` where it is missing. Throws std::system_error naming it where no file can be made in it: for the time
// before a long computation whose result goes there.
void require_writable(const std::filesystem::path& folder);

// Makes a rename or a new entry in `folder` survive a power failure.
void sync_folder(const std::filesystem::path& folder);

inline Bytes as_bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

// An exclusive lock on `file` (created if missing), held until destruction; so that two processes never write one
// run folder. `held` is false where another process has it.
class FileLock {
 public:
  explicit FileLock(const std::filesystem::path& file);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  bool held() const { return held_; }

 private:
  int descriptor_ = -1;
  bool held_ = false;
};

}  // namespace sdpipe
