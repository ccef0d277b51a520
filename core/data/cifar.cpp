// CIFAR-10 in its binary version: records of one label byte and 3 x 32 x 32 pixel bytes.
#include <fmt/format.h>

#include <system_error>

#include "core/base/error.hpp"
#include "core/base/files.hpp"
#include "core/data/bad_file.hpp"
#include "core/data/stored.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;

constexpr ImageShape shape{3, 32, 32};
constexpr size_t record_size = 1 + 3 * 32 * 32;

std::vector<std::string> file_names(const std::string& split) {
  if (split == "test") return {"test_batch.bin"};
  return {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"};
}

std::string read_batch_file(const fs::path& file) {
  std::error_code error;
  if (!fs::is_regular_file(file, error))
    throw DataError(
        fmt::format("data.path: there is no \"{}\"; the binary version of CIFAR-10 is needed (its folder "
                    "cifar-10-batches-bin)",
                    file.string()));
  try {
    return read_file(file);
  } catch (const std::system_error& failure) {
    fail(file, "cannot be read: " + failure.code().message());
  }
}

// Appends label and pixels of every record of `content`.
int64_t append_records(const std::string& content, const fs::path& file, std::vector<uint8_t>& pixels,
                       std::vector<uint8_t>& labels) {
  if (content.empty() || content.size() % record_size != 0)
    fail(file, fmt::format("is truncated or not CIFAR-10: {} bytes are no whole number of records of {}",
                           content.size(), record_size));
  const auto* bytes = reinterpret_cast<const uint8_t*>(content.data());
  for (size_t at = 0; at < content.size(); at += record_size) {
    if (bytes[at] > 9)
      fail(file, fmt::format("is damaged or not CIFAR-10: record {} has label {}, which is not 0 to 9",
                             at / record_size, bytes[at]));
    labels.push_back(bytes[at]);
    pixels.insert(pixels.end(), bytes + at + 1, bytes + at + record_size);
  }
  return static_cast<int64_t>(content.size() / record_size);
}

}  // namespace

std::unique_ptr<Source> open_cifar(const DataOptions& options) {
  std::vector<Part> parts;
  std::vector<uint8_t> pixels, labels;
  for (const std::string& name : file_names(options.split)) {
    const fs::path file = options.path / name;
    parts.push_back({file.string(), append_records(read_batch_file(file), file, pixels, labels)});
  }
  return std::make_unique<MemorySource>("cifar", options.path, options.limit, shape, std::move(parts),
                                        std::move(pixels), std::move(labels));
}

}  // namespace sdpipe
