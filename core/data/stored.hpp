// What the kinds of data set are built from; users of a data set need source.hpp alone.
#pragma once

#include <atomic>
#include <map>
#include <mutex>

#include "core/data/source.hpp"

namespace sdpipe {

std::unique_ptr<Source> open_folder(const DataOptions& options);
std::unique_ptr<Source> open_idx(const DataOptions& options);
std::unique_ptr<Source> open_cifar(const DataOptions& options);

// A file of a data set that is held in memory: its name and how many pictures came from it.
struct Part {
  std::string name;
  int64_t images = 0;
};

// All pictures in memory, one behind the other.
class MemorySource final : public Source {
 public:
  // `kind` and `path` are for describe(); `limit` as in DataOptions; `parts` in the order of `pixels`; `labels` one for
  // each picture, or none.
  MemorySource(std::string kind, std::filesystem::path path, int64_t limit, ImageShape shape, std::vector<Part> parts,
               std::vector<uint8_t> pixels, std::vector<uint8_t> labels);

  int64_t size() const override { return size_; }
  ImageShape shape() const override { return shape_; }
  ByteImage read(int64_t index) const override;
  std::string name_of(int64_t index) const override;
  std::string describe() const override;
  std::string content_hash() const override;
  std::span<const uint8_t> labels() const override { return labels_; }

 private:
  std::string kind_;
  std::filesystem::path path_;
  ImageShape shape_;
  std::vector<Part> parts_;
  std::vector<uint8_t> pixels_, labels_;
  int64_t size_;
};

// Remembers what another source decoded where all of it fits into `most_bytes`, and which pictures are bad.
class KeepingSource final : public Source {
 public:
  KeepingSource(std::unique_ptr<Source> source, bool skip_bad, int64_t most_bytes = int64_t{1} << 30);

  int64_t size() const override { return source_->size(); }
  ImageShape shape() const override { return source_->shape(); }
  ByteImage read(int64_t index) const override;
  std::optional<ByteImage> try_read(int64_t index) const override;
  std::vector<BadImage> skipped() const override;
  std::string name_of(int64_t index) const override { return source_->name_of(index); }
  std::string describe() const override { return source_->describe(); }
  std::string content_hash() const override { return source_->content_hash(); }
  std::span<const uint8_t> labels() const override { return source_->labels(); }

 private:
  enum State : uint8_t { absent, being_written, present };
  uint8_t* slot(int64_t index) const { return pixels_.get() + index * shape().elements(); }
  void keep(int64_t index, const ByteImage& image) const;

  std::unique_ptr<Source> source_;
  bool skip_bad_;
  std::unique_ptr<std::atomic<uint8_t>[]> states_;  // null: too large to keep
  std::unique_ptr<uint8_t[]> pixels_;               // untouched pages cost no memory
  mutable std::mutex mutex_;
  mutable std::map<int64_t, std::string> bad_;
};

}  // namespace sdpipe
