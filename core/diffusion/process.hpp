// The forward process (paper, equation 1):
//
//   x_t = C_t x_0 + sigma_t eps,   eps ~ N(0, I),   t in [0, 1],   C_t = C(level(t), key)
//
// Samples are (batch, channel, height, width), values in [-1, 1].
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/host/operators.hpp"

namespace sdpipe {

inline constexpr uint32_t path_points = 1025;

// Standard deviation of the error that rounding to bytes leaves in [-1, 1]: no image file holds less noise.
inline constexpr double byte_noise = 2.0 / 255 / 3.4641016151377544;

// level(t) and sigma(t), linear between equally spaced times: what schedules choose and checkpoints keep.
class Path {
 public:
  // Both of one length, at least 2.
  Path(std::vector<double> level, std::vector<double> sigma);
  double level(double t) const { return interpolate(level_, t); }
  double sigma(double t) const { return interpolate(sigma_, t); }
  const std::vector<double>& levels() const { return level_; }
  const std::vector<double>& sigmas() const { return sigma_; }
  // The t of a given sigma; sigma must rise strictly.
  double time_of_sigma(double sigma) const;
  bool sigma_rises_strictly() const;
  // The value at t of any table over equally spaced times, two at least.
  static double interpolate(const std::vector<double>& values, double t);

 private:
  std::vector<double> level_, sigma_;
};

// The key of image `sample` (its number in the training, or its number among the samples): the seed of whatever is
// random in C, constant along a trajectory.
uint64_t key_of(uint64_t seed, uint64_t sample);

class Process {
 public:
  Process(std::shared_ptr<const Corruption> corruption, Path path)
      : corruption_(std::move(corruption)), path_(std::move(path)) {}

  const Corruption& corruption() const { return *corruption_; }
  const Path& path() const { return path_; }
  // Where samples stand at times t[b]; all at one time.
  Points at(std::vector<double> t, std::vector<uint64_t> keys) const;
  Points at(double t, const std::vector<uint64_t>& keys) const;
  // C_t x
  at::Tensor corrupt(const Points& at, const at::Tensor& x) const { return corruption_->apply(at, x); }
  // C_t^T x
  at::Tensor adjoint(const Points& at, const at::Tensor& x) const { return corruption_->adjoint(at, x); }
  // C_t x_0 + sigma_t eps
  at::Tensor noisy(const Points& at, const at::Tensor& x_0, const at::Tensor& eps) const;

 private:
  std::shared_ptr<const Corruption> corruption_;
  Path path_;
};

// One number a sample as (batch, 1, 1, 1), in the dtype and on the device of x.
at::Tensor per_sample(std::span<const double> values, const at::Tensor& x);

// Standard normal values like x, from the stream (seed, purpose, sample[b], step, draw).
at::Tensor normal_like(const at::Tensor& x, uint64_t seed, Purpose purpose, std::span<const uint64_t> sample,
                       uint32_t step, uint32_t draw = 0);

}  // namespace sdpipe
