// Features of images for the scores: a small convolutional network trained by sdpipe on the data set itself, so that no
// weights come from elsewhere. It learns the labels, or where there are none which of four rotations an image has been
// given (Gidaris, Singh, Komodakis, arXiv 1803.07728).
//
//   [ 3 x 3 convolution of stride 2, ReLU ] until a side is at most 4 px, at least three; mean over the pixels =
//   features; one linear layer = classes
//
// The one place in core that differentiates with LibTorch. float32 on the CPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/data/source.hpp"
#include "core/training/tensors.hpp"

namespace sdpipe {

inline constexpr int64_t feature_count = 64;

struct FeatureOptions {
  uint64_t seed = 0;
  int64_t images = 240'000;  // that the training shows, rotated ones counted
};

class FeatureNetwork {
 public:
  // Opened where `folder` holds the network of this data (labels included) and these options, otherwise trained and
  // stored there, whole or not at all. The same options give the same network in the same build. `progress`
  // gets 0 ... 1 of the training. Throws CheckpointError where the stored file is damaged, Cancelled where `cancel`
  // became true.
  FeatureNetwork(const Source& data, const std::filesystem::path& folder, const FeatureOptions& options,
                 const std::atomic<bool>* cancel = nullptr, const std::function<void(double fraction)>& progress = {});

  // (n, channel, height, width) in [-1, 1] to (n, feature_count), float64.
  at::Tensor features(const at::Tensor& images) const;
  // (n, classes): the larger, the more likely.
  at::Tensor class_scores(const at::Tensor& images) const;

  // SHA-256 of the weights.
  const std::string& hash() const { return hash_; }
  const std::filesystem::path& file() const { return file_; }

 private:
  void store() const;
  void open();

  struct Weight {
    std::string name;
    std::vector<int64_t> shape;
    int64_t offset = 0;
  };
  class Trainer;
  std::vector<at::Tensor> views(const at::Tensor& flat) const;
  NamedTensors named() const;
  std::string hash_of_weights() const;

  std::vector<Weight> weights_;
  at::Tensor flat_;  // all weights, one behind the other
  std::string hash_;
  std::filesystem::path file_;
};

}  // namespace sdpipe
