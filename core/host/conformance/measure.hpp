// Shared by the laws: seeded tensors, mixed points, a stand-in corruption, and the record of one law.
#pragma once

#include <functional>

#include "core/host/conformance.hpp"

namespace sdpipe::conformance {

// Standard normal values, equal for equal `draw`.
at::Tensor random_batch(int64_t batch, const SampleShape& shape, at::ScalarType dtype, uint32_t draw);

// Levels 0, tiny, middle, maximum and others between, all keys different.
Points mixed_points(size_t batch, double level_max);
Points row(const Points& at, size_t b);

double dot(const at::Tensor& a, const at::Tensor& b);
double norm(const at::Tensor& a);
// Largest |a - b| relative to the largest |b|.
double relative_difference(const at::Tensor& a, const at::Tensor& b);

// The largest; NaN where one is NaN, which std::max would drop.
double largest(std::initializer_list<double> figures);

// A law that compares one figure with a bound.
LawResult bounded(std::string id, double bound, const std::function<double()>& measure);
// A law that says why it fails, or nothing.
LawResult stated(std::string id, const std::function<std::string()>& complaint);

// C(level) = (1 - level / 2) I with level_max 1: linear, invertible, diagonal in every basis.
class ScaledIdentity : public Corruption {
 public:
  double level_max() const override { return 1; }
  std::string level_unit() const override { return ""; }
  at::Tensor apply(const Points& at, const at::Tensor& x) const override;
  at::Tensor adjoint(const Points& at, const at::Tensor& x) const override { return apply(at, x); }
};

// Seeded noise images as data, under ScaledIdentity.
class NoiseCalibration : public CalibrationData {
 public:
  NoiseCalibration(SampleShape shape, at::ScalarType dtype) : shape_(std::move(shape)), dtype_(dtype) {}
  uint32_t n_batches() const override { return 4; }
  double level_max() const override { return corruption_.level_max(); }
  at::Tensor batch(uint32_t k) const override { return random_batch(64, shape_, dtype_, k); }
  at::Tensor corrupt(uint32_t k, double level) const override;

 private:
  SampleShape shape_;
  at::ScalarType dtype_;
  ScaledIdentity corruption_;
};

}  // namespace sdpipe::conformance
