#include "core/base/hash.hpp"

#include <openssl/evp.h>
#include <xxhash.h>

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <system_error>
#include <vector>

namespace sdpipe {
namespace {

std::string hexadecimal(std::span<const unsigned char> bytes) {
  std::string text;
  for (const unsigned char b : bytes) text += fmt::format("{:02x}", b);
  return text;
}

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) { EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr); }
  void add(const void* data, size_t n) { EVP_DigestUpdate(context_.get(), data, n); }
  std::string text() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    EVP_DigestFinal_ex(context_.get(), digest, &length);
    return hexadecimal({digest, length});
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

std::string sha256(Bytes bytes) {
  Sha256 hash;
  hash.add(bytes.data(), bytes.size());
  return hash.text();
}

std::string sha256_of_file(const std::filesystem::path& file) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> in(std::fopen(file.c_str(), "rb"), std::fclose);
  if (!in) throw std::system_error(errno, std::generic_category(), file.string());
  Sha256 hash;
  std::vector<char> block(1 << 20);
  errno = 0;
  while (const size_t n = std::fread(block.data(), 1, block.size(), in.get())) hash.add(block.data(), n);
  if (std::ferror(in.get())) throw std::system_error(errno ? errno : EIO, std::generic_category(), file.string());
  return hash.text();
}

std::string xxh3_128(Bytes bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace sdpipe
