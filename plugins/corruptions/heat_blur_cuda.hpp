// heat_blur on a CUDA GPU behind a plain function: C++17, without headers of CUDA. Memory is the current device's; work
// is queued on `stream`, a cudaStream_t. T is float or double.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sdpipe {

struct HeatBatch {
  int64_t samples, channels, height, width;
  const double* level;  // `samples`, in host memory
};

// What launch_heat_blur needs to work in: nothing where image, intermediate and matrices fit a multiprocessor's shared
// memory.
struct HeatScratch {
  int64_t doubles, elements;  // of double, of T
};
template <class T>
HeatScratch heat_scratch(const HeatBatch& batch);

// y[b] = A_H(level[b]) x[b] A_W(level[b]) for every channel, and its own transpose; x and y are apart. Returns 0, or
// the cudaError_t of a launch that failed, for heat_error.
template <class T>
int launch_heat_blur(const HeatBatch& batch, const T* x, T* y, double* doubles, T* elements, void* stream);

const char* heat_error(int code);

}  // namespace sdpipe
