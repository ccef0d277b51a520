#include "core/data/loader.hpp"

#include <ATen/ops/equal.h>

#include <algorithm>

#include "tests/data/sources.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;

namespace {

std::vector<Batch> take(Loader& loader, int count) {
  std::vector<Batch> out;
  for (int i = 0; i < count; ++i) out.push_back(loader.next());
  return out;
}

std::vector<Batch> take(int count, const std::shared_ptr<const Source>& source, LoaderOptions options,
                        LoaderState start = {}) {
  Loader loader(source, options, start);
  return take(loader, count);
}

std::vector<int64_t> indices(const std::vector<Batch>& batches) {
  std::vector<int64_t> out;
  for (const Batch& batch : batches) out.insert(out.end(), batch.indices.begin(), batch.indices.end());
  return out;
}

void require_equal(const std::vector<Batch>& a, const std::vector<Batch>& b) {
  REQUIRE(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    INFO("batch " << i);
    REQUIRE(a[i].first == b[i].first);
    REQUIRE(a[i].indices == b[i].indices);
    REQUIRE(at::equal(a[i].images, b[i].images));
  }
}

// Whether picture b of the batch is as the source has it (+1) or mirrored (-1): the first row rises or falls.
int direction(const Batch& batch, int64_t b) {
  const float* row = batch.images.data_ptr<float>() + b * 6;
  return row[0] < row[2] ? 1 : -1;
}

}  // namespace

TEST_CASE("every epoch shows every picture once, each in an order of its own") {
  const auto source = std::make_shared<CountingSource>(30);
  const std::vector<int64_t> seen = indices(take(9, source, {.batch = 10, .seed = 5}));
  std::vector<std::vector<int64_t>> epochs;
  for (int e = 0; e < 3; ++e) {
    epochs.emplace_back(seen.begin() + 30 * e, seen.begin() + 30 * (e + 1));
    REQUIRE(epochs[e] == epoch_order(30, 5, e));
    std::vector<int64_t> sorted = epochs[e];
    std::sort(sorted.begin(), sorted.end());
    for (int64_t i = 0; i < 30; ++i) REQUIRE(sorted[i] == i);
  }
  REQUIRE(epochs[0] != epochs[1]);
  REQUIRE(epochs[1] != epochs[2]);
  REQUIRE(epoch_order(30, 5, 0) != epoch_order(30, 6, 0));
}

TEST_CASE("every picture is equally likely at every position") {
  int counts[4][4] = {};
  for (int64_t e = 0; e < 4000; ++e) {
    const std::vector<int64_t> order = epoch_order(4, 1, e);
    for (int p = 0; p < 4; ++p) ++counts[p][order[p]];
  }
  for (const auto& row : counts)
    for (const int count : row) REQUIRE(std::abs(count - 1000) < 137);  // 5 standard deviations
}

TEST_CASE("bytes become [-1, 1]: v / 127.5 - 1") {
  const Batch batch = take(1, std::make_shared<CountingSource>(40), {.batch = 40})[0];
  REQUIRE(batch.images.sizes() == at::IntArrayRef({40, 1, 2, 3}));
  REQUIRE(batch.images.is_contiguous());
  for (int64_t b = 0; b < 40; ++b)
    for (int64_t j = 0; j < 6; ++j)
      REQUIRE(batch.images.data_ptr<float>()[b * 6 + j] ==
              static_cast<float>((6 * batch.indices[b] + j) / 127.5 - 1.0));
}

TEST_CASE("a batch is always full: it goes over the end of an epoch, of several if need be") {
  const auto source = std::make_shared<CountingSource>(7);
  const std::vector<Batch> batches = take(3, source, {.batch = 17, .seed = 3});
  const std::vector<int64_t> seen = indices(batches);
  REQUIRE(seen.size() == 51);
  for (int64_t i = 0; i < 51; ++i) REQUIRE(seen[i] == epoch_order(7, 3, i / 7)[i % 7]);
  REQUIRE(batches[2].first == 34);
}

TEST_CASE("batches are the same for every number of workers") {
  const auto source = std::make_shared<CountingSource>(23);
  const LoaderOptions none{.batch = 5, .seed = 9, .flip = true, .workers = 0};
  const std::vector<Batch> expected = take(40, source, none);
  for (const int64_t workers : {1, 3, 8}) {
    LoaderOptions some = none;
    some.workers = workers;
    require_equal(take(40, source, some), expected);
  }
}

TEST_CASE("a loader started at another's state goes on with the same batches") {
  const auto source = std::make_shared<CountingSource>(23);
  const LoaderOptions options{.batch = 5, .seed = 9, .flip = true, .workers = 2};
  Loader loader(source, options);
  for (int done = 0; done < 12; ++done) {
    const LoaderState state = loader.state();
    REQUIRE(state == LoaderState{done * 5 / 23, done * 5 % 23});
    const std::vector<Batch> rest = take(4, source, options, state);
    REQUIRE(rest[0].first == done * 5);
    std::vector<Batch> all = take(done + 4, source, options);
    all.erase(all.begin(), all.begin() + done);
    require_equal(rest, all);
    loader.next();
  }
}

TEST_CASE("mirroring depends on the seed and the count of images, not on the batch or the picture") {
  const auto directions = [](int64_t size, int64_t batch, uint64_t seed) {
    std::vector<int> out;
    for (const Batch& b : take(240 / static_cast<int>(batch), std::make_shared<CountingSource>(size),
                               {.batch = batch, .seed = seed, .flip = true}))
      for (int64_t i = 0; i < batch; ++i) out.push_back(direction(b, i));
    return out;
  };
  const std::vector<int> expected = directions(30, 10, 4);
  REQUIRE(directions(30, 6, 4) == expected);
  REQUIRE(directions(11, 10, 4) == expected);
  REQUIRE(directions(30, 10, 5) != expected);
  const auto mirrored = std::count(expected.begin(), expected.end(), -1);
  REQUIRE(mirrored > 80);
  REQUIRE(mirrored < 160);
}

TEST_CASE("mirroring swaps left and right within each row, and nothing else") {
  const Batch batch = take(1, std::make_shared<CountingSource>(40), {.batch = 40, .flip = true})[0];
  for (int64_t b = 0; b < 40; ++b) {
    for (int64_t j = 0; j < 6; ++j) {
      const int64_t from = direction(batch, b) > 0 ? j : j / 3 * 3 + 2 - j % 3;
      REQUIRE(batch.images.data_ptr<float>()[b * 6 + j] ==
              static_cast<float>((6 * batch.indices[b] + from) / 127.5 - 1.0));
    }
  }
}

TEST_CASE("a bad picture's place is taken by the next good one in the epoch's order") {
  const std::vector<int64_t> order = epoch_order(10, 2, 0);
  const std::set<int64_t> bad = {order[3], order[4], order[9]};
  const auto source = std::make_shared<CountingSource>(10, bad, true);
  for (const int64_t workers : {0, 3}) {
    const LoaderOptions options{.batch = 5, .seed = 2, .workers = workers};
    const std::vector<int64_t> seen = indices(take(2, source, options));
    std::vector<int64_t> expected = order;
    expected[3] = expected[4] = order[5];
    expected[9] = order[0];
    REQUIRE(seen == expected);
    require_equal(take(1, source, options, {0, 5}), {take(2, source, options)[1]});
  }
}

TEST_CASE("an error of a worker comes out of the batch that has it, whatever the number of workers") {
  const std::vector<int64_t> order = epoch_order(40, 0, 0);
  const auto source = std::make_shared<CountingSource>(40, std::set<int64_t>{order[23]});
  const std::string message = fmt::format("picture {} is bad", order[23]);
  for (const int64_t workers : {0, 1, 3}) {
    Loader loader(source, {.batch = 5, .workers = workers});
    take(loader, 4);
    REQUIRE(data_error([&] { loader.next(); }) == message);
    REQUIRE(data_error([&] { loader.next(); }) == message);
    REQUIRE(loader.state() == LoaderState{0, 20});
  }
}

TEST_CASE("a data set without a good picture is an error, not a hang") {
  const auto source = std::make_shared<CountingSource>(3, std::set<int64_t>{0, 1, 2}, true);
  for (const int64_t workers : {0, 2}) {
    Loader loader(source, {.batch = 2, .workers = workers});
    REQUIRE(data_error([&] { loader.next(); }) == "none of the 3 images can be used");
  }
}

TEST_CASE("a loader that nobody reads from stops when it goes out of scope") {
  const auto source = std::make_shared<CountingSource>(50);
  for (int i = 0; i < 50; ++i) Loader loader(source, {.batch = 3, .workers = 4});
  REQUIRE(source.use_count() == 1);  // the threads that shared it are gone
}

TEST_CASE("a start outside the data set is refused, for example after pictures were removed") {
  REQUIRE(data_error([] {
            Loader(std::make_shared<CountingSource>(10), {.batch = 2}, {3, 10});
          }) == "cannot go on at epoch 3, position 10: the data set has 10 images");
}
