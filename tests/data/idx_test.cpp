#include <zlib.h>

#include <algorithm>

#include "core/base/files.hpp"
#include "tests/data/files.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;

namespace {

std::string word(uint32_t value) {
  std::string out;
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xFF);
  return out;
}

// `count` pictures of 2 x 3 pixels; pixel j of picture i is 10 i + j.
std::string idx_file(uint32_t count) {
  std::string out = word(0x0803) + word(count) + word(2) + word(3);
  for (uint32_t i = 0; i < count; ++i)
    for (uint32_t j = 0; j < 6; ++j) out += static_cast<char>(10 * i + j);
  return out;
}

std::string label_file(const std::string& labels) {
  return word(0x0801) + word(static_cast<uint32_t>(labels.size())) + labels;
}

std::vector<int> labels_of(const Source& source) { return {source.labels().begin(), source.labels().end()}; }

std::string gzipped(std::string content) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(content.size() + 1000, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(content.data());
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::unique_ptr<Source> open_idx_at(const std::filesystem::path& path, const std::string& split = "train",
                                    int64_t limit = 0) {
  DataOptions options;
  options.type = "idx";
  options.path = path;
  options.split = split;
  options.limit = limit;
  return open_source(options);
}

// The message for a file of this content, without the quoted name before it.
std::string message_for(const std::string& content) {
  const TemporaryFolder folder;
  const std::filesystem::path file = folder / "train-images-idx3-ubyte";
  write_text(file, content);
  const std::string message = data_error([&] { open_idx_at(folder.path()); });
  const std::string name = in_quotes(file) + " ";
  return message.starts_with(name) ? message.substr(name.size()) : message;
}

}  // namespace

TEST_CASE("an idx file gives its pictures, plain and gzip, from its folder and by its name") {
  const TemporaryFolder folder;
  write_text(folder / "plain/train-images-idx3-ubyte", idx_file(4));
  write_text(folder / "packed/train-images-idx3-ubyte.gz", gzipped(idx_file(4)));
  write_text(folder / "other", gzipped(idx_file(4)));
  for (const char* path : {"plain", "packed", "other"}) {
    INFO(path);
    const auto source = open_idx_at(folder / path);
    REQUIRE(source->size() == 4);
    REQUIRE(source->shape() == ImageShape{1, 2, 3});
    REQUIRE(source->read(0).pixels == std::vector<uint8_t>{0, 1, 2, 3, 4, 5});
    REQUIRE(source->read(3).pixels == std::vector<uint8_t>{30, 31, 32, 33, 34, 35});
    REQUIRE(source->content_hash() == open_idx_at(folder / "plain")->content_hash());
  }
}

TEST_CASE("an idx data set names its pictures and describes itself") {
  const TemporaryFolder folder;
  write_text(folder / "t10k-images-idx3-ubyte", idx_file(4));
  const auto source = open_idx_at(folder.path(), "test", 2);
  const std::string file = (folder / "t10k-images-idx3-ubyte").string();
  REQUIRE(source->name_of(1) == file + "#1");
  REQUIRE(source->describe() == "2 images of 1 x 2 x 3 from " + in_quotes(file) + " (idx)");
}

TEST_CASE("a limit keeps the first pictures and changes the content hash") {
  const TemporaryFolder folder;
  write_text(folder / "train-images-idx3-ubyte", idx_file(4));
  REQUIRE(open_idx_at(folder.path(), "train", 3)->size() == 3);
  REQUIRE(open_idx_at(folder.path(), "train", 9)->size() == 4);
  REQUIRE(open_idx_at(folder.path(), "train", 3)->content_hash() != open_idx_at(folder.path())->content_hash());
}

TEST_CASE("a damaged idx file is refused with what is wrong") {
  const std::string good = idx_file(2);
  REQUIRE(message_for(good) == "no DataError");
  REQUIRE(message_for("") == "is truncated: 0 bytes, no IDX header");
  REQUIRE(message_for(good.substr(0, 15)) == "is truncated: 15 bytes, no IDX header");
  REQUIRE(message_for(good.substr(0, 27)) ==
          "is truncated: 2 images of 2 x 3 are 12 bytes of pixels, but 11 follow the header");
  REQUIRE(message_for(good + "xy") ==
          "has trailing bytes: 2 images of 2 x 3 are 12 bytes of pixels, but 14 follow the header");
  REQUIRE(message_for(word(0x0801) + good.substr(4)) ==
          "is not an IDX file of images: it begins with 0x00000801, not 0x00000803");
  REQUIRE(message_for(word(0x0803) + word(0) + word(2) + word(3)) == "has impossible dimensions: 0 images of 2 x 3");
  REQUIRE(message_for(word(0x0803) + word(1) + word(65536) + word(1)) ==
          "has impossible dimensions: 1 images of 65536 x 1");
  REQUIRE(message_for(word(0x0803) + word(0xFFFFFFFF) + word(65535) + word(65535)) ==
          "is truncated: 4294967295 images of 65535 x 65535 are 18446181123756261375 bytes of pixels, but 0 follow the "
          "header");
}

TEST_CASE("labels beside an idx file are read, plain and gzip, as many as there are pictures") {
  const TemporaryFolder folder;
  for (const char* split : {"plain", "packed", "none"})
    write_text(folder / split / "train-images-idx3-ubyte", idx_file(3));
  write_text(folder / "plain/train-labels-idx1-ubyte", label_file({4, 0, 9}));
  write_text(folder / "packed/train-labels-idx1-ubyte.gz", gzipped(label_file({4, 0, 9})));
  for (const char* path : {"plain", "packed"}) {
    INFO(path);
    REQUIRE(labels_of(*open_idx_at(folder / path)) == std::vector<int>{4, 0, 9});
    REQUIRE(labels_of(*open_idx_at(folder / path, "train", 2)) == std::vector<int>{4, 0});
    REQUIRE(labels_of(*open_idx_at(folder / path / "train-images-idx3-ubyte")) == std::vector<int>{4, 0, 9});
  }
  REQUIRE(labels_of(*open_idx_at(folder / "none")).empty());
  REQUIRE(open_idx_at(folder / "none")->content_hash() == open_idx_at(folder / "plain")->content_hash());
}

TEST_CASE("damaged labels, or those of other pictures, are refused") {
  const TemporaryFolder folder;
  write_text(folder / "t10k-images-idx3-ubyte", idx_file(3));
  const std::filesystem::path file = folder / "t10k-labels-idx1-ubyte";
  const auto message = [&](const std::string& content) {
    write_text(file, content);
    return data_error([&] { open_idx_at(folder.path(), "test"); });
  };
  const std::string good = label_file({4, 0, 9}), name = in_quotes(file);
  REQUIRE(message(good) == "no DataError");
  REQUIRE(message(label_file({4, 0})) == name + " has 2 labels for 3 images; the two files do not belong together");
  REQUIRE(message(good.substr(0, 10)) == name + " is truncated: its header says 3 labels, but 2 follow");
  REQUIRE(message(good + "x") == name + " has trailing bytes: its header says 3 labels, but 4 follow");
  REQUIRE(message(idx_file(3)) == name + " is not an IDX file of labels: it does not begin with 0x00000801");
  REQUIRE(message("") == name + " is not an IDX file of labels: it does not begin with 0x00000801");
}

TEST_CASE("a damaged gzip file is refused with what is wrong") {
  const std::string good = gzipped(idx_file(20));
  REQUIRE(message_for(good) == "no DataError");
  REQUIRE(message_for(good.substr(0, good.size() / 2)) == "is truncated: the gzip stream has no end");
  REQUIRE(message_for(good.substr(0, good.size() - 1)) == "is truncated: the gzip stream has no end");
  REQUIRE(message_for(good + "abc") == "has 3 bytes after its gzip stream");
  std::string flipped = good;
  flipped[flipped.size() - 6] = static_cast<char>(flipped[flipped.size() - 6] ^ 1);  // in the CRC
  REQUIRE(message_for(flipped) == "is not a sound gzip file: incorrect data check");
}

TEST_CASE("a missing idx file is named, with the package where one has it") {
  const TemporaryFolder folder;
  REQUIRE(data_error([&] { open_idx_at(folder.path(), "test"); }) ==
          "data.path: neither t10k-images-idx3-ubyte nor t10k-images-idx3-ubyte.gz is in " + in_quotes(folder.path()));
  REQUIRE(data_error([&] { open_idx_at("/usr/share/datasets/fashion-mnist/none"); }) ==
          "data.path: neither train-images-idx3-ubyte nor train-images-idx3-ubyte.gz is in "
          "\"/usr/share/datasets/fashion-mnist/none\"; on Debian and Ubuntu the package dataset-fashion-mnist puts "
          "them there");
}

TEST_CASE("options that do nothing for idx are refused") {
  DataOptions options;
  options.type = "idx";
  options.resize = 32;
  REQUIRE(usage_error([&] { open_source(options); }) ==
          "data.resize applies to data.type = \"folder\", not to \"idx\"");
}

TEST_CASE("Fashion-MNIST, where its package is installed, has 60,000 and 10,000 pictures of 28 x 28") {
  const std::filesystem::path path = "/usr/share/datasets/fashion-mnist";
  if (!std::filesystem::exists(path)) {
    WARN("skipped: the package dataset-fashion-mnist is not installed");
    return;
  }
  const auto train = open_idx_at(path), test = open_idx_at(path, "test");
  REQUIRE(train->size() == 60000);
  REQUIRE(test->size() == 10000);
  REQUIRE(train->shape() == ImageShape{1, 28, 28});
  REQUIRE(train->labels().size() == 60000);
  REQUIRE(std::count(test->labels().begin(), test->labels().end(), 3) == 1000);
  double sum = 0;
  for (int64_t i = 0; i < train->size(); ++i)
    for (const uint8_t v : train->read(i).pixels) sum += v;
  REQUIRE(sum / (60000.0 * 784 * 255) == Approx(0.2860).margin(5e-5));  // the published mean of the training set
}
