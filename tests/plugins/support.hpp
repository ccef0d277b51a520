// Built-in plugins as users get them: from their .sdp.so files, set up from TOML text.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/host/operators.hpp"

namespace sdpipe::testing {

const Plugin& plugin(const std::string& id);
// `toml` is the body of the plugin's table.
Settings settings(const Plugin& plugin, const std::string& toml = "");

// Zeros for a model's parameters.
ParamSet storage(const Model& model, at::ScalarType dtype = at::kDouble);
// What it throws says; "no failure" where nothing is thrown.
std::string failure(const std::function<void()>& action);

std::unique_ptr<Corruption> corruption(const std::string& id, const std::string& toml, const SampleShape& sample);

// Batch samples at one level; keys 0, 1, 2 ...
Points points(const std::vector<double>& level, double sigma = 0);

// Values without structure in [-1, 1), the same in every run.
at::Tensor noise(const std::vector<int64_t>& shape, uint64_t seed, at::ScalarType dtype = at::kDouble);
at::Tensor tensor(const std::vector<int64_t>& shape, const std::vector<double>& values);
std::vector<double> numbers(const at::Tensor& x);
double largest_difference(const at::Tensor& a, const at::Tensor& b);

// The orthonormal DCT-II of every (height, width) plane, written down from its definition, and its inverse.
at::Tensor dct(const at::Tensor& x);
at::Tensor inverse_dct(const at::Tensor& x);

// A schedule's choice on `data`, at n times.
std::vector<double> levels(const std::string& id, const std::string& toml, const CalibrationData& data,
                           uint32_t n = 1025);
std::vector<double> sigmas(const std::string& id, const std::string& toml, uint32_t n = 1025);

// Batches of clean data under a corruption written in the test.
class TestData : public CalibrationData {
 public:
  using Corrupt = std::function<at::Tensor(const at::Tensor& x, double level)>;
  explicit TestData(double level_max, std::vector<at::Tensor> batches = {}, Corrupt corrupt = {})
      : level_max_(level_max), batches_(std::move(batches)), corrupt_(std::move(corrupt)) {}
  uint32_t n_batches() const override { return static_cast<uint32_t>(batches_.size()); }
  double level_max() const override { return level_max_; }
  at::Tensor batch(uint32_t k) const override { return batches_[k]; }
  at::Tensor corrupt(uint32_t k, double level) const override { return corrupt_(batches_[k], level); }

 private:
  double level_max_;
  std::vector<at::Tensor> batches_;
  Corrupt corrupt_;
};

}  // namespace sdpipe::testing
