#include "core/data/stored.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/base/error.hpp"
#include "core/base/hash.hpp"
#include "core/base/log.hpp"

namespace sdpipe {

MemorySource::MemorySource(std::string kind, std::filesystem::path path, int64_t limit, ImageShape shape,
                           std::vector<Part> parts, std::vector<uint8_t> pixels, std::vector<uint8_t> labels)
    : kind_(std::move(kind)),
      path_(std::move(path)),
      shape_(shape),
      parts_(std::move(parts)),
      pixels_(std::move(pixels)),
      labels_(std::move(labels)),
      size_(static_cast<int64_t>(pixels_.size()) / shape.elements()) {
  if (limit > 0) size_ = std::min(size_, limit);
  if (!labels_.empty()) labels_.resize(static_cast<size_t>(size_));
}

ByteImage MemorySource::read(int64_t index) const {
  const auto first = pixels_.begin() + index * shape_.elements();
  return {shape_, {first, first + shape_.elements()}};
}

std::string MemorySource::name_of(int64_t index) const {
  for (const Part& part : parts_) {
    if (index < part.images) return fmt::format("{}#{}", part.name, index);
    index -= part.images;
  }
  return fmt::format("{}#{}", path_.string(), index);
}

std::string MemorySource::describe() const {
  return fmt::format("{} images of {} from \"{}\" ({})", size_, to_text(shape_), path_.string(), kind_);
}

std::string MemorySource::content_hash() const {
  const std::span pixels(pixels_.data(), static_cast<size_t>(size_ * shape_.elements()));
  const std::string text = fmt::format("{} {} {}", size_, to_text(shape_), sha256(std::as_bytes(pixels)));
  return sha256(std::as_bytes(std::span(text)));
}

KeepingSource::KeepingSource(std::unique_ptr<Source> source, bool skip_bad, int64_t most_bytes)
    : source_(std::move(source)), skip_bad_(skip_bad) {
  if (size() > most_bytes / shape().elements()) return;
  states_ = std::make_unique<std::atomic<uint8_t>[]>(static_cast<size_t>(size()));
  pixels_.reset(new uint8_t[static_cast<size_t>(size() * shape().elements())]);
}

// Of two threads that decoded the same picture, the first stores it and the other goes on without.
void KeepingSource::keep(int64_t index, const ByteImage& image) const {
  uint8_t expected = absent;
  if (!states_ || !states_[index].compare_exchange_strong(expected, being_written)) return;
  std::memcpy(slot(index), image.pixels.data(), image.pixels.size());
  states_[index].store(present, std::memory_order_release);
}

ByteImage KeepingSource::read(int64_t index) const {
  if (states_ && states_[index].load(std::memory_order_acquire) == present)
    return {shape(), {slot(index), slot(index) + shape().elements()}};
  ByteImage image = source_->read(index);
  keep(index, image);
  return image;
}

std::optional<ByteImage> KeepingSource::try_read(int64_t index) const {
  if (skip_bad_) {
    const std::scoped_lock lock(mutex_);
    if (bad_.contains(index)) return std::nullopt;
  }
  try {
    return read(index);
  } catch (const DataError& error) {
    if (!skip_bad_)
      throw DataError(fmt::format("{}. Repair or remove it, or set data.on_bad_file = \"skip\"", error.what()));
    const std::scoped_lock lock(mutex_);
    if (bad_.emplace(index, error.what()).second) log_warning(fmt::format("skipped: {}", error.what()));
    return std::nullopt;
  }
}

std::vector<BadImage> KeepingSource::skipped() const {
  const std::scoped_lock lock(mutex_);
  std::vector<BadImage> out;
  for (const auto& [index, reason] : bad_) out.push_back({index, reason});
  return out;
}

}  // namespace sdpipe
