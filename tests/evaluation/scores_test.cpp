#include "core/evaluation/scores.hpp"

#include <algorithm>

#include "core/base/error.hpp"
#include "core/host/services.hpp"
#include "tests/evaluation/pictures.hpp"
#include "tests/temporary_folder.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

// The network is trained once for all tests.
struct Scored {
  TemporaryFolder folder;
  Pictures data = bars(1000, 1);
  Scorer scorer{data, folder.path(), 3};
};

const Scored& scored() {
  static const Scored one;
  return one;
}

std::vector<double> values(const std::vector<Score>& scores) {
  std::vector<double> v;
  for (const Score& s : scores) v.push_back(s.value);
  return v;
}

}  // namespace

TEST_CASE("A score's name says which features or that pixels are compared, and how many samples there were") {
  const Scorer& scorer = scored().scorer;
  const std::string id = scorer.feature_id();
  REQUIRE(id.size() == 8);
  const std::vector<Score> scores = scorer.score(bars(20, 5).images(), score_names());
  std::vector<std::string> names;
  for (const Score& s : scores) {
    names.push_back(s.name);
    CHECK(s.samples == 20);
  }
  CHECK(names == std::vector<std::string>{"frechet (features " + id + ")", "sliced_wasserstein (pixels)",
                                          "precision (features " + id + ")", "recall (features " + id + ")",
                                          "nearest_neighbour (pixels)"});
  const std::vector<Score> some = scorer.score(bars(20, 5).images(), {"recall", "frechet"});
  REQUIRE(some.size() == 2);
  CHECK(some[0].value == scores[3].value);
  CHECK(some[1].value == scores[0].value);
}

TEST_CASE("Every score tells new pictures of the data's kind from noisy ones, the more the noise") {
  const Scorer& scorer = scored().scorer;
  const std::vector<ByteImage> clean = bars(300, 77).images();
  std::vector<double> before = values(scorer.score(clean, score_names()));
  CHECK(before[2] > 0.7);
  CHECK(before[3] > 0.7);
  for (const double std : {30.0, 60.0, 120.0}) {
    INFO(std);
    const std::vector<double> after = values(scorer.score(with_noise(clean, std, 5), score_names()));
    CHECK(after[0] > 1.2 * before[0]);
    CHECK(after[1] > before[1]);
    CHECK(after[4] > 1.2 * before[4]);
    before = after;
  }
  CHECK(before[2] < 0.3);
}

TEST_CASE("Samples of one kind alone lose recall, not precision") {
  const Pictures unseen = bars(1200, 77);
  std::vector<ByteImage> one_kind;
  for (size_t i = 0; i < unseen.images().size(); ++i)
    if (unseen.labels()[i] == 2) one_kind.push_back(unseen.images()[i]);
  const std::vector<double> got = values(scored().scorer.score(one_kind, {"precision", "recall"}));
  CHECK(got[0] > 0.7);
  CHECK(got[1] < 0.5);
}

TEST_CASE("The floor is what real pictures score, none of them compared with itself") {
  const Scored& s = scored();
  const RealScores floor = s.scorer.real_floor(300, score_names());
  CHECK(floor.count == 300);
  CHECK(floor.parts == 1);  // of 500
  CHECK(floor.deviations.empty());
  CHECK(floor.scores[0].samples == 300);
  const std::vector<double> real = values(floor.scores);
  const std::vector<double> fresh = values(s.scorer.score(bars(300, 77).images(), score_names()));
  CHECK(real[0] > 0);
  CHECK(real[0] == Approx(fresh[0]).epsilon(0.8));
  CHECK(real[1] == Approx(fresh[1]).epsilon(0.5));
  CHECK(real[4] == Approx(fresh[4]).epsilon(0.1));
  CHECK(s.scorer.score(s.data.images(), {"nearest_neighbour"})[0].value == 0);
  CHECK(s.scorer.real_floor(9999, {"frechet"}).count == 500);  // half of the data
}

TEST_CASE("The floor is taken over as many disjoint parts as there are, at most twenty") {
  const Scorer& scorer = scored().scorer;
  const auto parts = [&](int64_t count) { return scorer.real_floor(count, {"sliced_wasserstein"}).parts; };
  CHECK(parts(500) == 1);
  CHECK(parts(251) == 1);
  CHECK(parts(250) == 2);
  CHECK(parts(100) == 5);
  CHECK(parts(25) == 20);
  CHECK(parts(10) == 20);
}

TEST_CASE("The floor is the mean over its parts, with their standard deviation") {
  // The first of two parts is the only one of a floor of more than half of the images; both together are all of them.
  const Scorer& scorer = scored().scorer;
  const std::vector<std::string> names = {"nearest_neighbour", "frechet"};
  const RealScores two = scorer.real_floor(250, names), all = scorer.real_floor(500, names);
  REQUIRE(two.deviations.size() == 2);
  CHECK(two.scores[0].samples == 250);
  // A mean over images is the mean of the parts' means, which differ.
  CHECK(two.scores[0].value == Approx(all.scores[0].value).epsilon(1e-12));
  CHECK(two.deviations[0] > 0);
  // Fewer samples, a larger bias.
  CHECK(two.scores[1].value > all.scores[1].value);
  const std::atomic<bool> cancel = true;
  CHECK_THROWS_AS(scorer.real_floor(250, names, &cancel), Cancelled);
}

TEST_CASE("Real pictures score what the bias of their number says, roughly") {
  const Scorer& scorer = scored().scorer;
  const Reference reference = scorer.reference();
  CHECK(reference.images == 500);
  CHECK(reference.bias(250) == Approx(2 * reference.bias(500)));
  CHECK(reference.expected_frechet(250) == Approx(reference.bias(250) + reference.bias(500)));
  const double floor = scorer.real_floor(250, {"frechet"}).scores[0].value;
  CHECK(floor > reference.expected_frechet(250) / 2);
  CHECK(floor < reference.expected_frechet(250) * 2);
}

TEST_CASE("Of more than 10,000 samples the first 10,000 are projected, and the score says so") {
  std::vector<ByteImage> samples = bars(10'100, 5).images();
  const std::vector<Score> all = scored().scorer.score(samples, {"sliced_wasserstein", "frechet"});
  CHECK(all[0].samples == 10'000);
  CHECK(all[1].samples == 10'100);
  samples.resize(10'000);
  CHECK(scored().scorer.score(samples, {"sliced_wasserstein"})[0].value == all[0].value);
}

TEST_CASE("Where the training mirrored, a mirrored training picture is a copy too") {
  const Scored& s = scored();
  std::vector<ByteImage> mirrored = s.data.images();
  for (ByteImage& image : mirrored) {
    for (size_t row = 0; row < image.pixels.size(); row += 8)
      std::reverse(image.pixels.begin() + row, image.pixels.begin() + row + 8);
  }
  const Scorer flipping(s.data, s.folder.path(), 3, nullptr, {}, true);
  CHECK(flipping.score(mirrored, {"nearest_neighbour"})[0].value == 0);
  CHECK(s.scorer.score(mirrored, {"nearest_neighbour"})[0].value > 0);
  CHECK(flipping.real_floor(300, {"nearest_neighbour"}).scores[0].value <
        s.scorer.real_floor(300, {"nearest_neighbour"}).scores[0].value);
}

TEST_CASE("A scorer that is made again opens its network and scores the same") {
  const Scored& s = scored();
  std::vector<double> steps;
  const Scorer again(s.data, s.folder.path(), 3, nullptr, [&](double fraction) { steps.push_back(fraction); });
  CHECK(again.feature_id() == s.scorer.feature_id());
  CHECK(steps.size() < 10);  // a training has more than 1,000
  CHECK(steps.back() == 1);
  const std::vector<ByteImage> samples = bars(50, 8).images();
  CHECK(values(again.score(samples, score_names())) == values(s.scorer.score(samples, score_names())));
}

TEST_CASE("What cannot be scored is refused in words") {
  const Scored& s = scored();
  const auto message = [&](const std::vector<ByteImage>& samples, const std::string& name) {
    return message_of<UsageError>([&] { s.scorer.score(samples, {name}); });
  };
  CHECK(message(bars(9, 1).images(), "frechet") == "no such error");
  CHECK(
      message(bars(9, 1).images(), "freshet") ==
      "there is no score \"freshet\"; there are frechet, sliced_wasserstein, precision, recall, nearest_neighbour; did "
      "you mean \"frechet\"?");
  CHECK(message(bars(3, 1).images(), "frechet") == "scores need at least 4 samples, not 3");
  CHECK(message(bars(9, 1, 9).images(), "frechet") ==
        "samples of 1 x 9 x 9 cannot be scored against images of 1 x 8 x 8");
  const Pictures few = bars(7, 1);
  CHECK(message_of<DataError>([&] { Scorer(few, s.folder.path(), 0); }) ==
        "scores need at least 8 images, and the data set has 7");
}

TEST_CASE("A scorer is cancelled before it is made") {
  const TemporaryFolder folder;
  const std::atomic<bool> cancel = true;
  CHECK_THROWS_AS(Scorer(scored().data, folder.path(), 3, &cancel), Cancelled);
}
