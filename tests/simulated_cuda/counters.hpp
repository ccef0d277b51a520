// What counts() in simulated_cuda.hpp reports.
#pragma once

#include <cstddef>

#include "simulated_cuda.hpp"

namespace simulated_cuda {

// Adds one to a count. `what` is said where SIMULATED_CUDA_TRACE asks for it.
void count(size_t Counts::*which, const char* what = "", size_t bytes = 0);

}  // namespace simulated_cuda
