// Where the kernels are tested: one test for the CPU, which always runs, and for CUDA, where there is a GPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace sdpipe::testing {

inline const at::Device gpu(at::kCUDA, 0);

// The CPU and, where there is one, the GPU; with SDPIPE_TEST_DEVICE = "cpu" or "cuda" in the environment that one
// alone. What is left out is said once.
const std::vector<at::Device>& devices();

inline at::TensorOptions on(at::Device device, at::ScalarType dtype) { return at::TensorOptions(dtype).device(device); }

inline at::Tensor on_cpu(const at::Tensor& x) { return x.to(at::TensorOptions(at::kDouble).device(at::kCPU)); }

}  // namespace sdpipe::testing
