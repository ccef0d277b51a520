// The laws of the plugin ABI as functions over a loaded plugin. Tests run them over every plugin that is found, and so
// does `sdpipe plugins check FILE`: a new plugin is tested by existing.
#pragma once

#include <string>
#include <vector>

#include "core/host/operators.hpp"

namespace sdpipe {

// What one law found. `id` is stable: "corruption.adjoint.float64".
struct LawResult {
  std::string id;
  bool holds = false;
  std::string detail;  // the measured figure against its bound, or why it failed
};

// Adjoint and linearity are measured relative to |x||y|, with different levels and keys inside one batch.
inline constexpr double float32_bound = 1e-5, float64_bound = 1e-12;

// Every law of the plugin's kind, on samples of `shape` on `device`; on a GPU also that its results are the CPU's. A
// law that throws does not hold.
std::vector<LawResult> check_laws(const Plugin& plugin, const Settings& settings, const SampleShape& shape,
                                  at::Device device = at::kCPU);

std::vector<LawResult> check_corruption(const Plugin& plugin, const Settings& settings, const SampleShape& shape,
                                        at::Device device = at::kCPU);
std::vector<LawResult> check_schedule(const Plugin& plugin, const Settings& settings, const SampleShape& shape);
std::vector<LawResult> check_model(const Plugin& plugin, const Settings& settings, const SampleShape& shape,
                                   at::Device device = at::kCPU);
std::vector<LawResult> check_sampler(const Plugin& plugin, const Settings& settings, const SampleShape& shape,
                                     at::Device device = at::kCPU);

}  // namespace sdpipe
