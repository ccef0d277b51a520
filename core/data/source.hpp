// Data sets: a number of pictures of one shape, each known by its index.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/data/images.hpp"

namespace sdpipe {

// A picture that could not be used, and why.
struct BadImage {
  int64_t index = 0;
  std::string reason;
};

// Every function may be called from several threads at once.
class Source {
 public:
  virtual ~Source() = default;

  virtual int64_t size() const = 0;  // at least 1
  virtual ImageShape shape() const = 0;

  // Picture `index` in [0, size()). Throws DataError naming the file.
  virtual ByteImage read(int64_t index) const = 0;

  // The same; nothing where the picture is bad and the data set skips bad pictures. Each is warned about once.
  virtual std::optional<ByteImage> try_read(int64_t index) const { return read(index); }
  // What try_read has skipped so far, by index.
  virtual std::vector<BadImage> skipped() const { return {}; }

  // What a message calls picture `index`: a file, or a file and a position in it.
  virtual std::string name_of(int64_t index) const = 0;
  // One line for a person: number, shape, where from, how prepared.
  virtual std::string describe() const = 0;
  // SHA-256 over the data as stored and how it is prepared: equal hashes, equal pictures in equal order. Reads the
  // whole data set.
  virtual std::string content_hash() const = 0;

  // The class of every picture, or nothing where the data set has none. No part of the content hash.
  virtual std::span<const uint8_t> labels() const { return {}; }
};

// A square out of every picture of a folder.
struct CropOptions {
  int64_t size = 0;  // pixels; 0: no crop
  // Column and row (x, y) of the centre; nothing: the centre of the picture. The first column is x - size / 2 and the
  // first row y - size / 2. CelebA's two usual crops are 140 at the centre, and 128 at x = 89, y = 121.
  struct Center {
    int64_t x = 0, y = 0;
  };
  std::optional<Center> center;
};

struct DataOptions {
  std::string type;  // "folder" | "idx" | "cifar"
  std::filesystem::path path;
  CropOptions crop;                   // folder
  int64_t resize = 0;                 // folder: side in pixels; 0: as they are. Without a crop, the largest square
                                      // at the centre is taken first, so that nothing is stretched
  int64_t channels = 0;               // folder: 1 | 3; 0: as the first file
  std::string on_bad_file = "error";  // folder: "error" | "skip"
  int64_t held_out = 0;               // folder: this many, those whose names' hashes are least, are split "test"
  std::string split = "train";        // "train" | "test"
  int64_t limit = 0;                  // the first images only; 0: all
  bool flip = false;                  // for the loader
  int64_t workers = 2;                // for the loader
};

// Throws DataError where the data is missing or damaged, UsageError where an option is none of those above.
std::unique_ptr<Source> open_source(const DataOptions& options);

}  // namespace sdpipe
