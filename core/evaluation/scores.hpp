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

  // What `count` real images score that are not among those compared with: no model can be expected to do better.
  // Real images are split by seed into a reference and at most half for this; `count` is lowered to what there is.
  std::vector<Score> real_floor(int64_t count, const std::vector<std::string>& names) const;

  // The first eight digits of the SHA-256 of the feature network's weights.
  const std::string& feature_id() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace sdpipe
