// Data sets in memory for the tests of the loader.
#pragma once

#include <set>

#include "core/base/error.hpp"
#include "core/data/source.hpp"
#include "tests/data/files.hpp"

namespace sdpipe {

// Picture i is 1 x 2 x 3 with pixels 6 i ... 6 i + 5, modulo 256. Those in `bad` fail, or are skipped.
class CountingSource final : public Source {
 public:
  explicit CountingSource(int64_t size, std::set<int64_t> bad = {}, bool skip = false)
      : size_(size), bad_(std::move(bad)), skip_(skip) {}

  int64_t size() const override { return size_; }
  ImageShape shape() const override { return {1, 2, 3}; }
  ByteImage read(int64_t index) const override {
    if (bad_.contains(index)) throw DataError(fmt::format("picture {} is bad", index));
    ByteImage image = plain(1, 2, 3, 0);
    for (int64_t j = 0; j < 6; ++j) image.pixels[j] = static_cast<uint8_t>(6 * index + j);
    return image;
  }
  std::optional<ByteImage> try_read(int64_t index) const override {
    if (skip_ && bad_.contains(index)) return std::nullopt;
    return read(index);
  }
  std::string name_of(int64_t index) const override { return std::to_string(index); }
  std::string describe() const override { return "counting"; }
  std::string content_hash() const override { return "counting"; }

 private:
  int64_t size_;
  std::set<int64_t> bad_;
  bool skip_;
};

}  // namespace sdpipe
