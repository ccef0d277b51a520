// Where trajectories start: x_1 = C_1 x_0 + sigma_1 eps, which for blurs and masks is no standard normal. Its
// statistics are kept in the checkpoint, so that sampling needs no data set.
//
//   mixture     C_1 of Gaussian images whose coordinates that C_1 leaves above the noise come from a mixture of
//               Gaussians (mixture_start.hpp), plus noise: holds no training image
//   empirical   corrupted training images drawn by seed, as in Rissanen et al. (arXiv 2206.13397), plus noise
//   gaussian    C_1 of Gaussian images with the mean and covariance of x_0, plus noise: diagonal in the DCT ("dct"),
//               whole ("pixel") or by its largest directions ("low_rank", see low_rank.hpp); C_1 with the sample's own
//               key, because a covariance of C_1 x_0 over many keys is that of no trajectory
//   noise       sigma_1 eps
#pragma once

#include <map>
#include <optional>
#include <string>

#include "core/diffusion/calibration.hpp"
#include "core/diffusion/mixture_start.hpp"
#include "core/diffusion/process.hpp"

namespace sdpipe {

inline constexpr int64_t prior_pool = 1000;              // corrupted images that are kept
inline constexpr int64_t pixel_covariance_limit = 1024;  // elements of a sample
inline constexpr int64_t prior_rank = 256;               // largest directions that are kept, fewer of fewer images

// Named tensors, as they stand in a checkpoint.
using NamedTensors = std::map<std::string, at::Tensor>;

struct PriorStatistics {
  at::Tensor pool;       // (n, channel, height, width), C_1 x_0 without noise
  at::Tensor pool_keys;  // (n), int64: the bits of each image's key, so that its trajectory uses the same C_t
  // Of the clean x_0:
  at::Tensor mean;               // (channel, height, width), float64
  at::Tensor dct_variance;       // (channel, height, width), float64
  at::Tensor pixel_covariance;   // (d, d), float64; undefined above pixel_covariance_limit
  at::Tensor low_rank;           // (rank, channel, height, width), F of low_rank.hpp, in the run's precision
  at::Tensor residual_variance;  // (1), float64
  std::optional<MixtureStart> mixture;

  // All but the mixture, which sees more images than the calibration. The pool is corrupted at `level_1`, the last
  // level of the path.
  static PriorStatistics estimate(const DataCalibration& data, double level_1);
  // Of clean images, as `gaussian`, `low_rank` takes them.
  GaussianImages gaussian_images() const;
  NamedTensors named() const;
  static PriorStatistics from(const NamedTensors& tensors);
};

struct PriorOptions {
  std::string prior = "empirical";  // "mixture" | "empirical" | "gaussian" | "noise"
  std::string basis = "dct";        // "dct" | "pixel" | "low_rank"
  uint64_t seed = 0;
  int64_t components = 0;  // of the mixture; 0: as many as were fitted
};

// What a trajectory starts from.
struct Start {
  at::Tensor x_1;
  std::vector<uint64_t> keys;
};

class Prior {
 public:
  // Throws RunError where the statistics lack what the options ask for.
  Prior(const PriorStatistics& statistics, const Process& process, const PriorOptions& options);
  // Samples number `first` ... `first` + count - 1; each depends on the seed and its number alone.
  Start draw(uint64_t first, int64_t count, const at::TensorOptions& tensor_options) const;
  // Of the empirical prior: the image of the pool that sample number `sample` starts from.
  std::optional<int64_t> pool_index(uint64_t sample) const;
  // One sentence for reports: which prior, and what it means.
  std::string describe() const;

 private:
  at::Tensor from_pool(const std::vector<uint64_t>& sample, std::vector<uint64_t>& keys) const;
  at::Tensor clean_images(const std::vector<uint64_t>& sample) const;
  void move_to_mixture(at::Tensor& x, const std::vector<uint64_t>& sample) const;
  at::Tensor normal(const at::Tensor& like, const std::vector<uint64_t>& sample, uint32_t draw) const;
  const PriorStatistics& statistics_;
  const Process& process_;
  PriorOptions options_;
  at::Tensor factor_;  // (d, k), covariance = factor factor^T + residual_std^2 I
  double residual_std_ = 0;
  at::Tensor coordinates_, directions_;    // of the mixture: P (r, d) and W^T (r, d)
  std::vector<double> cumulated_weights_;  // of its components
  std::vector<int64_t> pool_order_;
};

}  // namespace sdpipe
