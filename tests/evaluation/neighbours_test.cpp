#include "core/evaluation/neighbours.hpp"

#include <algorithm>
#include <cmath>

#include "core/base/error.hpp"
#include "core/host/services.hpp"
#include "tests/data/sources.hpp"
#include "tests/evaluation/pictures.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using testing::Pictures;
using testing::random_images;

namespace {

// The definition, pair by pair.
std::vector<Neighbour> one_by_one(const std::vector<ByteImage>& training, const std::vector<ByteImage>& images) {
  std::vector<Neighbour> found;
  for (const ByteImage& image : images) {
    int64_t best = -1, at = -1;
    for (size_t i = 0; i < training.size(); ++i) {
      int64_t square = 0;
      for (size_t j = 0; j < image.pixels.size(); ++j) {
        const int64_t difference = int64_t{image.pixels[j]} - training[i].pixels[j];
        square += difference * difference;
      }
      if (best < 0 || square < best) best = square, at = static_cast<int64_t>(i);
    }
    found.push_back({at, std::sqrt(static_cast<double>(best) / static_cast<double>(image.pixels.size())) / 255});
  }
  return found;
}

void require_same(const std::vector<Neighbour>& found, const std::vector<Neighbour>& expected) {
  REQUIRE(found.size() == expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    INFO(i);
    REQUIRE(found[i].index == expected[i].index);
    REQUIRE(found[i].distance == expected[i].distance);
  }
}

}  // namespace

TEST_CASE("Neighbours are those of a search one by one, in sets larger than a block and images longer than one sum") {
  const Pictures training(random_images(2500, {3, 19, 20}, 1));
  const std::vector<ByteImage> samples = random_images(7, {3, 19, 20}, 2);
  require_same(nearest_training_images(training, samples), one_by_one(training.images(), samples));
}

TEST_CASE("Of equally near images the first is taken") {
  const Pictures training(random_images(4500, {1, 1, 3}, 1, 4));  // 64 different ones at most
  const std::vector<ByteImage> samples = random_images(1100, {1, 1, 3}, 2, 6);
  require_same(nearest_training_images(training, samples), one_by_one(training.images(), samples));
}

TEST_CASE("A distance is 1 between black and white, and an image's own is 0") {
  const Pictures training({plain(1, 40, 40, 255)});
  CHECK(nearest_training_images(training, std::vector{plain(1, 40, 40, 0)})[0].distance == 1);
  CHECK(nearest_training_images(training, training.images())[0].distance == 0);
  CHECK(nearest_training_images(training, std::vector{plain(1, 40, 40, 204)})[0].distance == Approx(0.2));
}

TEST_CASE("An index that is excepted for an image is not taken for it, but for others") {
  const Pictures training({plain(1, 2, 2, 10), plain(1, 2, 2, 60), plain(1, 2, 2, 90)});
  const std::vector<ByteImage> samples = {plain(1, 2, 2, 60), plain(1, 2, 2, 60)};
  const auto found = nearest_training_images(training, samples, std::vector<int64_t>{1, -1});
  CHECK(found[0].index == 2);
  CHECK(found[1].index == 1);
  const Pictures alone({plain(1, 2, 2, 10)});
  CHECK(testing::message_of<DataError>([&] {
          nearest_training_images(alone, alone.images(), std::vector<int64_t>{0});
        }) == "there is no training image to compare a sample with");
}

TEST_CASE("With flip, mirrored images are among the training's, and of equally near ones the unmirrored is taken") {
  const Pictures training(random_images(40, {3, 4, 5}, 1));
  std::vector<ByteImage> doubled = training.images();
  for (ByteImage image : training.images()) {
    for (size_t row = 0; row < image.pixels.size(); row += 5)
      std::reverse(image.pixels.begin() + row, image.pixels.begin() + row + 5);
    doubled.push_back(image);
  }
  const std::vector<ByteImage> samples = random_images(30, {3, 4, 5}, 2);
  const auto found = nearest_training_images(training, samples, {}, nullptr, true);
  const auto expected = one_by_one(doubled, samples);
  int mirrored = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    INFO(i);
    CHECK(found[i].index == expected[i].index % 40);
    CHECK(found[i].is_mirrored == (expected[i].index >= 40));
    CHECK(found[i].distance == expected[i].distance);
    mirrored += found[i].is_mirrored;
  }
  CHECK(mirrored > 5);
  CHECK(mirrored < 25);
  const Pictures even({plain(1, 2, 2, 10), plain(1, 2, 2, 90)});
  const auto nearest = nearest_training_images(even, even.images(), std::vector<int64_t>{0, -1}, nullptr, true);
  CHECK(nearest[0].index == 1);  // nor is the excepted image's mirror taken
  CHECK_FALSE(nearest[1].is_mirrored);
  const NearestTraining copies =
      nearest_training(training, std::vector{doubled[43]}, std::vector<int64_t>{3}, nullptr, true);
  CHECK(copies.copies == 1);
  CHECK(copies.training[0].pixels == doubled[43].pixels);
}

TEST_CASE("Images that the data set skips are nobody's neighbours") {
  const CountingSource source(5, {2, 4}, true);
  const std::vector<ByteImage> samples = {CountingSource(5).read(2), CountingSource(5).read(4)};
  const auto found = nearest_training_images(source, samples);
  CHECK(found[0].index == 1);
  CHECK(found[1].index == 3);
}

TEST_CASE("Copies are samples whose nearest image is the one that they started from") {
  const Pictures training(random_images(20, {1, 4, 4}, 1));
  const std::vector<ByteImage>& images = training.images();
  const std::vector<ByteImage> samples = {images[3], images[7], images[11]};
  const NearestTraining nearest = nearest_training(training, samples, std::vector<int64_t>{3, 8, 11});
  CHECK(nearest.copies == 2);
  CHECK(nearest.training[1].pixels == images[7].pixels);
  CHECK(nearest.samples.size() == 3);
  CHECK_FALSE(nearest_training(training, samples, {}).copies.has_value());
}

TEST_CASE("A search ends where it is cancelled") {
  const Pictures training(random_images(2, {1, 2, 2}, 1));
  const std::atomic<bool> cancel = true;
  CHECK_THROWS_AS(nearest_training_images(training, training.images(), {}, &cancel), Cancelled);
}
