// The IDX files of MNIST and Fashion-MNIST, plain or gzip: big-endian words 0x00000803 (bytes, three dimensions),
// images, rows, columns, then one byte a pixel. Beside them may lie the labels: words 0x00000801 (bytes, one
// dimension), labels, then one byte each.
#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <system_error>

#include "core/base/error.hpp"
#include "core/base/files.hpp"
#include "core/data/bad_file.hpp"
#include "core/data/stored.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;

constexpr size_t header_size = 16, label_header_size = 8;
constexpr size_t most_bytes = size_t{4} << 30;

// An inflating zlib stream over one gzip file.
class Inflater {
 public:
  explicit Inflater(std::string& packed) {
    stream_.next_in = reinterpret_cast<Bytef*>(packed.data());
    stream_.avail_in = static_cast<uInt>(packed.size());
    if (inflateInit2(&stream_, 16 + MAX_WBITS) != Z_OK) throw RunError("zlib cannot be started");
  }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  // Appends up to `count` bytes to `out`; zlib's code.
  int next(std::string& out, size_t count) {
    const size_t before = out.size();
    out.resize(before + count);
    stream_.next_out = reinterpret_cast<Bytef*>(out.data() + before);
    stream_.avail_out = static_cast<uInt>(count);
    const int code = inflate(&stream_, Z_NO_FLUSH);
    out.erase(before + count - stream_.avail_out);
    return code;
  }
  size_t unread() const { return stream_.avail_in; }
  const char* message() const { return stream_.msg ? stream_.msg : "damaged data"; }

 private:
  z_stream stream_{};
};

std::string gunzip(std::string packed, const fs::path& file) {
  std::string out;
  Inflater inflater(packed);
  for (;;) {
    const int code = inflater.next(out, size_t{1} << 20);
    if (code == Z_STREAM_END) break;
    if (code == Z_BUF_ERROR) fail(file, "is truncated: the gzip stream has no end");
    if (code != Z_OK) fail(file, fmt::format("is not a sound gzip file: {}", inflater.message()));
    if (out.size() > most_bytes) fail(file, "unpacks to more than 4 GiB");
  }
  if (inflater.unread() > 0) fail(file, fmt::format("has {} bytes after its gzip stream", inflater.unread()));
  return out;
}

std::string read_unpacked(const fs::path& file) {
  try {
    if (fs::file_size(file) >= most_bytes) fail(file, "is larger than 4 GiB");
    std::string content = read_file(file);
    return content.starts_with("\x1f\x8b") ? gunzip(std::move(content), file) : content;
  } catch (const std::system_error& error) {
    fail(file, fmt::format("cannot be read: {}", error.code().message()));
  }
}

uint32_t word(const std::string& content, size_t index) {
  uint32_t value = 0;
  for (size_t i = 4 * index; i < 4 * index + 4; ++i) value = value << 8 | static_cast<uint8_t>(content[i]);
  return value;
}

// The number and the shape of the pictures that `content` holds, all of it checked.
std::pair<int64_t, ImageShape> check_header(const std::string& content, const fs::path& file) {
  if (content.size() < header_size) fail(file, fmt::format("is truncated: {} bytes, no IDX header", content.size()));
  if (word(content, 0) != 0x0803)
    fail(file, fmt::format("is not an IDX file of images: it begins with 0x{:08x}, not 0x00000803", word(content, 0)));
  const uint64_t count = word(content, 1), height = word(content, 2), width = word(content, 3);
  if (count == 0 || height == 0 || width == 0 || height > 65535 || width > 65535)
    fail(file, fmt::format("has impossible dimensions: {} images of {} x {}", count, height, width));
  const uint64_t expected = count * height * width, found = content.size() - header_size;  // < 2^64, so exact
  if (found != expected)
    fail(file,
         fmt::format("{}: {} images of {} x {} are {} bytes of pixels, but {} follow the header",
                     found < expected ? "is truncated" : "has trailing bytes", count, height, width, expected, found));
  return {static_cast<int64_t>(count), {1, static_cast<int64_t>(height), static_cast<int64_t>(width)}};
}

fs::path find_file(const DataOptions& options) {
  std::error_code error;  // what cannot be looked at is missing too
  if (fs::is_regular_file(options.path, error)) return options.path;
  const std::string name = (options.split == "test" ? "t10k" : "train") + std::string("-images-idx3-ubyte");
  for (const std::string& candidate : {name, name + ".gz"})
    if (fs::is_regular_file(options.path / candidate, error)) return options.path / candidate;
  const bool packaged = options.path.lexically_normal().string().starts_with("/usr/share/datasets/fashion-mnist");
  throw DataError(
      fmt::format("data.path: neither {0} nor {0}.gz is in \"{1}\"{2}", name, options.path.string(),
                  packaged ? "; on Debian and Ubuntu the package dataset-fashion-mnist puts them there" : ""));
}

// The file of labels beside a file of images that has its usual name; empty where there is none.
fs::path find_labels(const fs::path& images) {
  std::string name = images.filename().string();
  const std::string usual = "-images-idx3-ubyte";
  const size_t at = name.find(usual);
  if (at == std::string::npos) return {};
  name = name.substr(0, at) + "-labels-idx1-ubyte";
  std::error_code error;
  for (const std::string& candidate : {name, name + ".gz"})
    if (fs::is_regular_file(images.parent_path() / candidate, error)) return images.parent_path() / candidate;
  return {};
}

std::vector<uint8_t> read_labels(const fs::path& file, int64_t images) {
  const std::string content = read_unpacked(file);
  if (content.size() < label_header_size || word(content, 0) != 0x0801)
    fail(file, "is not an IDX file of labels: it does not begin with 0x00000801");
  const int64_t said = word(content, 1), found = static_cast<int64_t>(content.size() - label_header_size);
  if (said != found)
    fail(file, fmt::format("{}: its header says {} labels, but {} follow",
                           found < said ? "is truncated" : "has trailing bytes", said, found));
  if (said != images)
    fail(file, fmt::format("has {} labels for {} images; the two files do not belong together", said, images));
  return {content.begin() + label_header_size, content.end()};
}

}  // namespace

std::unique_ptr<Source> open_idx(const DataOptions& options) {
  const fs::path file = find_file(options);
  const std::string content = read_unpacked(file);
  const auto [count, shape] = check_header(content, file);
  std::vector<uint8_t> pixels(content.begin() + header_size, content.end());
  const fs::path label_file = find_labels(file);
  std::vector<uint8_t> labels = label_file.empty() ? std::vector<uint8_t>() : read_labels(label_file, count);
  return std::make_unique<MemorySource>("idx", file, options.limit, shape, std::vector<Part>{{file.string(), count}},
                                        std::move(pixels), std::move(labels));
}

}  // namespace sdpipe
