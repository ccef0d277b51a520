#include <algorithm>
#include <cmath>

#include "core/base/log.hpp"
#include "core/data/loader.hpp"
#include "tests/data/sources.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;

namespace {

// The index of each picture of a batch out of a CountingSource of at most 42 pictures.
std::vector<int64_t> indices_of(const at::Tensor& images) {
  std::vector<int64_t> out;
  for (int64_t b = 0; b < images.size(0); ++b)
    out.push_back(std::lround((images.data_ptr<float>()[b * 6] + 1) * 127.5) / 6);
  return out;
}

}  // namespace

TEST_CASE("read_batch gives the pictures asked for, in that order, repeats included") {
  const std::vector<int64_t> wanted = {7, 0, 7, 19};
  const at::Tensor images = read_batch(CountingSource(20), wanted);
  REQUIRE(images.sizes() == at::IntArrayRef({4, 1, 2, 3}));
  REQUIRE(indices_of(images) == wanted);
  for (int64_t j = 0; j < 6; ++j) REQUIRE(images.data_ptr<float>()[6 + j] == static_cast<float>(j / 127.5 - 1.0));
}

TEST_CASE("read_batch takes the next good index after a bad one, from the last on to the first") {
  const CountingSource source(10, {3, 4, 9}, true);
  REQUIRE(indices_of(read_batch(source, std::vector<int64_t>{2, 3, 4, 9})) == std::vector<int64_t>{2, 5, 5, 0});
}

TEST_CASE("read_batch throws what a bad picture throws, and refuses an index outside the data set") {
  const CountingSource source(10, {3});
  REQUIRE(data_error([&] { read_batch(source, std::vector<int64_t>{3}); }) == "picture 3 is bad");
  REQUIRE_THROWS_AS(read_batch(source, std::vector<int64_t>{10}), std::out_of_range);
  REQUIRE_THROWS_AS(read_batch(source, std::vector<int64_t>{-1}), std::out_of_range);
}

TEST_CASE("a folder with bad files trains on the others with any number of workers") {
  const LogLevel before = log_level();
  set_log_level(LogLevel::error);
  const TemporaryFolder folder;
  for (int i = 0; i < 12; ++i) write_picture(folder / fmt::format("p{}.png", 10 + i), plain(3, 4, 4, 20 * i));
  write_text(folder / "p12.png", "damaged");
  write_text(folder / "p20.png", "");
  DataOptions options;
  options.type = "folder";
  options.path = folder.path();
  options.on_bad_file = "skip";
  std::vector<std::vector<int64_t>> seen;
  for (const int64_t workers : {0, 1, 3}) {
    const std::shared_ptr<const Source> source = open_source(options);
    Loader loader(source, {.batch = 8, .workers = workers});
    std::vector<int64_t> all;
    for (int i = 0; i < 6; ++i) {
      const Batch batch = loader.next();
      all.insert(all.end(), batch.indices.begin(), batch.indices.end());
      for (int64_t b = 0; b < 8; ++b)
        REQUIRE(std::lround((batch.images.data_ptr<float>()[b * 48] + 1) * 127.5) == 20 * batch.indices[b]);
    }
    REQUIRE(source->skipped().size() == 2);
    seen.push_back(all);
  }
  REQUIRE(seen[1] == seen[0]);
  REQUIRE(seen[2] == seen[0]);
  REQUIRE(std::count(seen[0].begin(), seen[0].end(), 2) == 0);
  REQUIRE(std::count(seen[0].begin(), seen[0].end(), 10) == 0);
  set_log_level(before);
}
