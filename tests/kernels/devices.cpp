#include "tests/kernels/devices.hpp"

#include <ATen/detail/CUDAHooksInterface.h>

#include <cstdlib>
#include <iostream>
#include <string>

namespace sdpipe::testing {
namespace {

// Empty where there is a GPU.
std::string why_no_gpu() {
#ifdef SDPIPE_CUDA
  return at::detail::getCUDAHooks().hasCUDA() ? "" : "no CUDA GPU was found";
#else
  return "this build is without SDPIPE_CUDA";
#endif
}

std::vector<at::Device> found() {
  const char* variable = std::getenv("SDPIPE_TEST_DEVICE");
  const std::string wanted = variable ? variable : "", reason = why_no_gpu();
  if (wanted == "cpu") return {at::kCPU};
  if (reason.empty()) return wanted == "cuda" ? std::vector<at::Device>{gpu} : std::vector<at::Device>{at::kCPU, gpu};
  // ctest knows a test that was left out by the first word.
  std::cerr << "SKIPPED: the CUDA kernels were not run: " << reason << std::endl;
  return wanted == "cuda" ? std::vector<at::Device>{} : std::vector<at::Device>{at::kCPU};
}

}  // namespace

const std::vector<at::Device>& devices() {
  static const std::vector<at::Device> all = found();
  return all;
}

}  // namespace sdpipe::testing
