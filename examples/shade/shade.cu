// A third party's corruption with a CUDA kernel of its own, in one file: shades an image from left to right,
//
//   y[i, j] = x[i, j] (1 - level (j + 0.5) / width),   level in [0, depth]
//
// which is diagonal, and so its own transpose. The same function runs on the CPU and on a GPU.
//
//   [corruption]
//   type = "org.example.shade"
//   depth = 0.9
#include <sdpipe/cuda_launch.hpp>
#include <sdpipe/plugin.hpp>

namespace {

__host__ __device__ double shade(double level, int64_t column, int64_t width) {
  return 1 - level * (static_cast<double>(column) + 0.5) / static_cast<double>(width);
}

// One sample: `size` elements in rows of `width`. Its level travels as an argument, which CUDA copies at the launch.
template <class T>
__global__ void shade_sample(double level, int64_t width, const T* x, T* y, int64_t size) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < size) y[i] = x[i] * static_cast<T>(shade(level, i % width, width));
}

struct Shade {
  double depth = 0.9;
  double level_max() const { return depth; }

  template <class T>
  void apply(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    const int64_t width = x.dim(3), size = x.stride();
    const bool on_gpu = x.raw()->device_type == SDP_DEVICE_CUDA;
    for (int64_t b = 0; b < x.size(); ++b) {
      if (on_gpu) {
        launch(call, at.level[b], width, x[b], y[b], size);
      } else {
        for (int64_t i = 0; i < size; ++i) y[b][i] = x[b][i] * static_cast<T>(shade(at.level[b], i % width, width));
      }
    }
  }
  template <class T>
  void adjoint(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    apply(call, at, x, y);
  }

 private:
  // On the host's stream, and without waiting: what comes behind it on the stream finds the result.
  template <class T>
  static void launch(const sdp::Call& call, double level, int64_t width, const T* x, T* y, int64_t size) {
    constexpr unsigned threads = 256;
    const auto blocks = static_cast<unsigned>((size + threads - 1) / threads);
    const cudaError_t error = sdp::launch({blocks, threads, 0, static_cast<cudaStream_t>(call.stream())},
                                          shade_sample<T>, level, width, x, y, size);
    if (error != cudaSuccess) call.fail(cudaGetErrorString(error), {}, SDP_E_DEVICE);
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::corruption<Shade>("org.example.shade", "1.0.0", "Shades an image from left to right")
                             .real("depth", &Shade::depth, sdp::between(0.01, 0.99), "", "At level_max, on the right")
                             .devices(SDP_ON_CUDA))
