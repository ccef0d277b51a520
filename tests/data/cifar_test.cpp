#include "tests/data/files.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;

namespace {

// Records with pixel j of record i equal to i + j, modulo 256.
std::string records(int first, int count) {
  std::string out;
  for (int i = first; i < first + count; ++i) {
    out += static_cast<char>(i % 10);
    for (int j = 0; j < 3072; ++j) out += static_cast<char>(i + j);
  }
  return out;
}

std::unique_ptr<Source> open_cifar_at(const std::filesystem::path& path, const std::string& split = "train") {
  DataOptions options;
  options.type = "cifar";
  options.path = path;
  options.split = split;
  return open_source(options);
}

void write_train(const TemporaryFolder& folder) {
  for (int k = 1; k <= 5; ++k) write_text(folder / fmt::format("data_batch_{}.bin", k), records(2 * (k - 1), 2));
}

}  // namespace

TEST_CASE("cifar reads five batches in order, with the labels beside") {
  const TemporaryFolder folder;
  write_train(folder);
  const auto source = open_cifar_at(folder.path());
  REQUIRE(source->size() == 10);
  REQUIRE(source->shape() == ImageShape{3, 32, 32});
  for (int64_t i = 0; i < 10; ++i) {
    const ByteImage image = source->read(i);
    REQUIRE(image.pixels.size() == 3072);
    REQUIRE(image.pixels[0] == i);
    REQUIRE(image.pixels[3071] == (i + 3071) % 256);
    REQUIRE(source->labels()[static_cast<size_t>(i)] == i);
  }
  REQUIRE(source->labels().size() == 10);
  REQUIRE(source->name_of(5) == (folder / "data_batch_3.bin").string() + "#1");
  REQUIRE(source->describe() == "10 images of 3 x 32 x 32 from " + in_quotes(folder.path()) + " (cifar)");
}

TEST_CASE("cifar's test split is its own file") {
  const TemporaryFolder folder;
  write_text(folder / "test_batch.bin", records(7, 3));
  REQUIRE(open_cifar_at(folder.path(), "test")->read(2).pixels[1] == 10);
}

TEST_CASE("a missing, cut or foreign cifar file is refused by name") {
  const TemporaryFolder folder;
  write_train(folder);
  const auto message = [&] { return data_error([&] { open_cifar_at(folder.path()); }); };
  REQUIRE(message() == "no DataError");
  const std::string file = in_quotes(folder / "data_batch_4.bin");
  write_text(folder / "data_batch_4.bin", records(0, 2).substr(1));
  REQUIRE(message() == file + " is truncated or not CIFAR-10: 6145 bytes are no whole number of records of 3073");
  write_text(folder / "data_batch_4.bin", records(0, 1) + std::string(3073, '\x0c'));
  REQUIRE(message() == file + " is damaged or not CIFAR-10: record 1 has label 12, which is not 0 to 9");
  std::filesystem::remove(folder / "data_batch_4.bin");
  REQUIRE(message() == "data.path: there is no " + file +
                           "; the binary version of CIFAR-10 is needed (its folder cifar-10-batches-bin)");
}
