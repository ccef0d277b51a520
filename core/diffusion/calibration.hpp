// Training images for what is estimated rather than trained: schedules, priors, fitted models.
#pragma once

#include "core/data/loader.hpp"
#include "core/diffusion/process.hpp"

namespace sdpipe {

// `count` different indices out of [0, size), drawn by seed; all of them, shuffled, where count >= size.
std::vector<int64_t> choose_images(int64_t size, int64_t count, uint64_t seed);

// A fixed sample of the data set, held in memory, with a key for each image.
class DataCalibration : public CalibrationData {
 public:
  DataCalibration(const Source& source, const Corruption& corruption, const at::TensorOptions& options, int64_t count,
                  int64_t batch, uint64_t seed);
  uint32_t n_batches() const override { return static_cast<uint32_t>(batches_.size()); }
  double level_max() const override { return corruption_.level_max(); }
  at::Tensor batch(uint32_t k) const override { return batches_.at(k); }
  at::Tensor corrupt(uint32_t k, double level) const override;
  const std::vector<uint64_t>& keys(uint32_t k) const { return keys_.at(k); }
  int64_t n_images() const;

 private:
  const Corruption& corruption_;
  std::vector<at::Tensor> batches_;
  std::vector<std::vector<uint64_t>> keys_;
};

}  // namespace sdpipe
