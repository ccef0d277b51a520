#include "core/base/files.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace sdpipe {
namespace {

[[noreturn]] void fail(const std::filesystem::path& file, int error = errno) {
  throw std::system_error(error, std::generic_category(), file.string());
}

// An open file descriptor; close() reports what the kernel held back, the destructor cannot.
class Descriptor {
 public:
  Descriptor(const std::filesystem::path& file, int flags)
      : file_(file), fd_(::open(file.c_str(), flags | O_CLOEXEC, 0644)) {
    if (fd_ < 0) fail(file_);
  }
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  void write_all(std::string_view content) {
    while (!content.empty()) {
      const ssize_t n = ::write(fd_, content.data(), content.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail(file_);
      content.remove_prefix(static_cast<size_t>(n));
    }
  }
  std::string read_all() {
    std::string content;
    struct stat about {};
    // Grown by doubling, a file of weights takes three times its size.
    if (::fstat(fd_, &about) == 0 && about.st_size > 0) content.reserve(static_cast<size_t>(about.st_size));
    char block[1 << 16];
    for (;;) {
      const ssize_t n = ::read(fd_, block, sizeof block);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail(file_);
      if (n == 0) return content;
      content.append(block, static_cast<size_t>(n));
    }
  }
  void sync() {
    if (::fsync(fd_) != 0 && errno != EINVAL) fail(file_);  // EINVAL: the file system has nothing to sync
  }
  void close() {
    const int fd = std::exchange(fd_, -1);
    if (::close(fd) != 0 && errno != EINTR) fail(file_);
  }

 private:
  std::filesystem::path file_;
  int fd_;
};

std::filesystem::path parent_of(const std::filesystem::path& file) {
  return file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
}

}  // namespace

std::string read_file(const std::filesystem::path& file) { return Descriptor(file, O_RDONLY).read_all(); }

void write_file(const std::filesystem::path& file, std::string_view content) {
  const std::filesystem::path temporary = file.string() + ".tmp-" + std::to_string(::getpid());
  try {
    Descriptor out(temporary, O_WRONLY | O_CREAT | O_TRUNC);
    out.write_all(content);
    out.sync();
    out.close();
    if (::rename(temporary.c_str(), file.c_str()) != 0) fail(file);
  } catch (const std::system_error& e) {
    ::unlink(temporary.c_str());
    throw std::system_error(e.code(), file.string());  // the name that the caller knows
  }
  sync_folder(parent_of(file));
}

void require_writable(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) fail(folder, error.value());
  if (!std::filesystem::is_directory(folder)) fail(folder, ENOTDIR);
  if (::access(folder.c_str(), W_OK | X_OK) != 0) fail(folder);
}

void sync_folder(const std::filesystem::path& folder) {
  Descriptor d(folder, O_RDONLY | O_DIRECTORY);
  d.sync();
}

FileLock::FileLock(const std::filesystem::path& file)
    : descriptor_(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0) fail(file);
  held_ = ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0;
  if (!held_ && errno != EWOULDBLOCK) {
    const int error = errno;
    ::close(descriptor_);
    fail(file, error);
  }
}

FileLock::~FileLock() { ::close(descriptor_); }

}  // namespace sdpipe
