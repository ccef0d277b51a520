#include "core/evaluation/features.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/tensor.h>

#include <numeric>

#include "core/base/error.hpp"
#include "core/base/files.hpp"
#include "core/data/loader.hpp"
#include "core/host/services.hpp"
#include "tests/evaluation/pictures.hpp"
#include "tests/temporary_folder.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const Pictures& training_bars() {
  static const Pictures pictures = bars(400, 1);
  return pictures;
}

FeatureOptions short_training(uint64_t seed = 0) { return {.seed = seed, .images = 1280}; }

at::Tensor all_of(const Source& source) {
  std::vector<int64_t> indices(static_cast<size_t>(source.size()));
  std::iota(indices.begin(), indices.end(), int64_t{0});
  return read_batch(source, indices);
}

double accuracy(const FeatureNetwork& network, const at::Tensor& images, const std::vector<int64_t>& classes) {
  return network.class_scores(images).argmax(1).eq(at::tensor(classes)).to(at::kDouble).mean().item<double>();
}

}  // namespace

TEST_CASE("A seed decides the feature network") {
  const TemporaryFolder a, b;
  const FeatureNetwork network(training_bars(), a.path(), short_training(7));
  CHECK(network.hash().size() == 64);
  CHECK(FeatureNetwork(training_bars(), b.path(), short_training(7)).hash() == network.hash());
  CHECK(FeatureNetwork(training_bars(), b.path(), short_training(8)).hash() != network.hash());
}

TEST_CASE("The feature network does not depend on the number of threads, which stays what it was") {
  const TemporaryFolder a, b;
  const int before = at::get_num_threads();
  at::set_num_threads(3);
  const std::string hash = FeatureNetwork(training_bars(), a.path(), short_training()).hash();
  CHECK(at::get_num_threads() == 3);
  at::set_num_threads(1);
  CHECK(FeatureNetwork(training_bars(), b.path(), short_training()).hash() == hash);
  at::set_num_threads(before);
}

TEST_CASE("A stored feature network is opened, not trained again") {
  const TemporaryFolder folder;
  int steps = 0;
  const auto count = [&](double) { ++steps; };
  const FeatureNetwork trained(training_bars(), folder.path(), short_training(), nullptr, count);
  CHECK(steps == 20);
  const FeatureNetwork opened(training_bars(), folder.path(), short_training(), nullptr, count);
  CHECK(steps == 20);
  CHECK(opened.hash() == trained.hash());
  const at::Tensor images = all_of(training_bars());
  CHECK(opened.features(images).equal(trained.features(images)));
}

TEST_CASE("Other pictures, other labels and no labels have feature networks of their own") {
  const TemporaryFolder folder;
  const Pictures& data = training_bars();
  const auto file = [&](const Source& source) {
    return FeatureNetwork(source, folder.path(), {.seed = 0, .images = 128}).file();
  };
  const Pictures unlabelled(data.images());
  const Pictures relabelled(data.images(), std::vector<uint8_t>(400, 1));
  const std::set<std::filesystem::path> files = {file(data), file(bars(400, 2)), file(unlabelled), file(relabelled)};
  CHECK(files.size() == 4);
}

TEST_CASE("The feature network learns to tell labels, or rotations where there are none") {
  const TemporaryFolder folder;
  const Pictures unseen = bars(200, 99);
  const at::Tensor images = all_of(unseen);
  const FeatureOptions options{.seed = 1, .images = 25'600};
  SECTION("labels") {
    const FeatureNetwork network(training_bars(), folder.path(), options);
    CHECK(accuracy(network, images, {unseen.labels().begin(), unseen.labels().end()}) > 0.9);
  }
  SECTION("rotations") {
    // A light from the left, which four rotations carry to four sides.
    const auto lit = [](const Pictures& pictures) {
      std::vector<ByteImage> out = pictures.images();
      for (ByteImage& image : out)
        for (size_t i = 0; i < image.pixels.size(); i += 8) image.pixels[i] = 255;
      return Pictures(out);
    };
    const FeatureNetwork network(lit(training_bars()), folder.path(), options);
    const at::Tensor upright = all_of(lit(unseen));
    for (int64_t k = 0; k < 4; ++k) {
      INFO(k);
      CHECK(accuracy(network, upright.rot90(k, {2, 3}), std::vector<int64_t>(200, k)) > 0.9);
    }
  }
}

TEST_CASE("An image's features do not depend on the images beside it") {
  const TemporaryFolder folder;
  const FeatureNetwork network(training_bars(), folder.path(), short_training());
  const at::Tensor images = all_of(training_bars()), features = network.features(images);
  REQUIRE(features.sizes().vec() == std::vector<int64_t>{400, feature_count});
  REQUIRE(features.scalar_type() == at::kDouble);
  const at::Tensor alone = network.features(images.slice(0, 399, 400));
  CHECK((features[399] - alone[0]).abs().max().item<double>() < 1e-5);
  CHECK((features[399] - features[398]).abs().max().item<double>() > 1e-2);
}

TEST_CASE("Pictures of any size and shape have features") {
  for (const ImageShape& shape : {ImageShape{1, 1, 1}, ImageShape{3, 5, 17}, ImageShape{4, 40, 40}}) {
    INFO(to_text(shape));
    const TemporaryFolder folder;
    const Pictures pictures(random_images(10, shape, 3));
    const FeatureNetwork network(pictures, folder.path(), {.seed = 0, .images = 128});
    const at::Tensor features = network.features(all_of(pictures));
    CHECK(features.sizes().vec() == std::vector<int64_t>{10, feature_count});
    CHECK(features.isfinite().all().item<bool>());
  }
}

TEST_CASE("A damaged feature network is refused, with what to do") {
  const TemporaryFolder folder;
  const std::filesystem::path file = FeatureNetwork(training_bars(), folder.path(), short_training()).file();
  const std::string good = read_file(file), name = file.string();
  const auto message = [&](const std::string& content) {
    write_file(file, content);
    return message_of<CheckpointError>([&] { FeatureNetwork(training_bars(), folder.path(), short_training()); });
  };
  CHECK(message(good) == "no such error");
  std::string flipped = good;
  flipped.back() = static_cast<char>(flipped.back() ^ 1);
  CHECK(message(flipped) == "the feature network is damaged: the weights in " + name +
                                " are not those that were stored; delete it, and the network is trained again");
  CHECK(message(pack_tensors({})) == "the feature network is damaged: " + name +
                                         " has other tensors than this network; delete it, and the network is trained "
                                         "again");
  const std::string cut = message(good.substr(0, good.size() - 1));
  INFO(cut);
  CHECK(cut.find("the feature network is damaged: ") == 0);
  CHECK(cut.find(name) != std::string::npos);
}

TEST_CASE("A cancelled training leaves no file") {
  const TemporaryFolder folder;
  std::atomic<bool> cancel = false;
  const auto stop = [&](double fraction) { cancel = fraction > 0.5; };
  CHECK_THROWS_AS(FeatureNetwork(training_bars(), folder.path(), short_training(), &cancel, stop), Cancelled);
  CHECK(std::filesystem::is_empty(folder.path()));
}
