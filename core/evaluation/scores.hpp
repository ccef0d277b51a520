// How far samples are from the data, by scores that need no weights from elsewhere. Only scores of the same name, the
// same number of samples and the same data compare with each other; none of them is an FID.
//
//   frechet              d^2 between Gaussians of features (frechet.hpp)
//   sliced_wasserstein   W2 of pixels along orthonormal directions drawn by seed (sliced.hpp), of the first 10,000
//                        images on either side
//   precision, recall    share of samples in the manifold of real images, and of real images in that of the samples
//                        (manifold.hpp)
//   nearest_neighbour    mean distance of a sample to its nearest training image (neighbours.hpp), mirrored ones
//                        among them where the training mirrored
//
// Features are those of a small network trained on the same data set (features.hpp), whose hash is part of the name.
// Pixels are in [0, 1] here: 1 is white against black.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/data/source.hpp"

namespace sdpipe {

struct Score {
  std::string name;  // as shown: "frechet (features 1a2b3c4d)", "sliced_wasserstein (pixels)"
  double value = 0;
  int64_t samples = 0;  // that it was taken of; a score of few is biased: it is part of what is stated
};

// "frechet", "sliced_wasserstein", "precision", "recall", "nearest_neighbour".
std::vector<std::string> score_names();

enum class Better { less, more, neither };  // neither: what is far below the floor are copies
// What is known of a score before it is taken.
struct ScoreKind {
  std::string_view name;
  Better better;
  int64_t features;  // of which it fits a covariance: it says nothing of as many samples or fewer; 0 where of none
  int64_t advised;   // of fewer samples it is rough; 0 where nothing is known
};
// By the name that a pipeline file has, or the one that is shown. Throws std::out_of_range for others.
const ScoreKind& score_kind(std::string_view name);
// Whether so few samples leave the score without any meaning.
bool is_meaningless(std::string_view score, int64_t samples);

// What real images score that are not among those compared with: no model can be expected to do better.
struct RealScores {
  int64_t count = 0;                    // images in a part: fewer than asked for in a small data set
  std::vector<Score> scores;            // means over the parts
  int64_t parts = 1;                    // disjoint ones
  std::vector<double> deviations = {};  // of each score over the parts; empty where there is one
};

// What samples are compared with.
struct Reference {
  int64_t images = 0;       // 0: not known
  double bias_times_n = 0;  // frechet_bias_times_n of their features
  double bias(int64_t n) const { return bias_times_n / static_cast<double>(n); }
  // Of a perfect model's n samples.
  double expected_frechet(int64_t n) const { return bias(n) + bias(images); }
};

class Scorer {
 public:
  // Opens the feature network of this data and seed in `folder`, or trains and stores it there, and computes what it
  // needs of the real images. `data` must outlive the object. `progress` gets 0 ... 1. `flip` is [data]'s. Throws
  // CheckpointError where the stored network is damaged, DataError where there are fewer than 4 images, Cancelled where
  // `cancel` became true.
  Scorer(const Source& data, const std::filesystem::path& folder, uint64_t seed,
         const std::atomic<bool>* cancel = nullptr, const std::function<void(double fraction)>& progress = {},
         bool flip = false);
  ~Scorer();

  // One Score for each of `names` (of score_names()), in that order. At least 2 samples, 4 for precision and recall,
  // all of the data's shape. Throws UsageError where one of that is not so.
  std::vector<Score> score(const std::vector<ByteImage>& samples, const std::vector<std::string>& names) const;

  // Real images are split by seed into a reference and at most half for this: so many disjoint parts of `count` images
  // as there are, at most 20. `count` is lowered to what there is. Throws Cancelled where `cancel` became true.
  RealScores real_floor(int64_t count, const std::vector<std::string>& names,
                        const std::atomic<bool>* cancel = nullptr) const;

  Reference reference() const;

  // The first eight digits of the SHA-256 of the feature network's weights.
  const std::string& feature_id() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sdpipe
