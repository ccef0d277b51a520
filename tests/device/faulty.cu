// Corruptions whose kernels are wrong: what a run says of them.
#include "core/abi/cuda_launch.hpp"
#include "core/abi/plugin.hpp"

namespace {

constexpr unsigned threads = 256;

__global__ void past_the_end(float* y, int64_t size) {
  if (threadIdx.x == 0) y[size + 16] = 1;
}

__global__ void at_two_barriers(float* y) {
  if (threadIdx.x < threads / 2)
    __syncthreads();
  else
    __syncthreads();
  y[0] = 1;
}

struct Faulty {
  double level_max() const { return 1; }
  template <class T>
  void adjoint(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    apply(call, at, x, y);
  }
  // What both do before the fault, and on the CPU altogether: y = x.
  static bool copies(const sdp::Call& call, sdp::Batch<const float> x, sdp::Batch<float> y) {
    call.lincomb(y.raw_mutable(), {1}, {x.raw()});
    return x.raw()->device_type != SDP_DEVICE_CUDA;
  }
  static sdp::Launch one_block(const sdp::Call& call) {
    return {1, threads, 0, static_cast<cudaStream_t>(call.stream())};
  }
  virtual void apply(sdp::Call& call, const sdp::Point&, sdp::Batch<const float> x, sdp::Batch<float> y) const = 0;
  virtual ~Faulty() = default;
};

struct PastTheEnd : Faulty {
  void apply(sdp::Call& call, const sdp::Point&, sdp::Batch<const float> x, sdp::Batch<float> y) const override {
    if (!copies(call, x, y)) sdp::launch(one_block(call), past_the_end, y.data(), x.size() * x.stride());
  }
};

struct AtTwoBarriers : Faulty {
  void apply(sdp::Call& call, const sdp::Point&, sdp::Batch<const float> x, sdp::Batch<float> y) const override {
    if (!copies(call, x, y)) sdp::launch(one_block(call), at_two_barriers, y.data());
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::corruption<PastTheEnd>("past_the_end", "1.0.0", "Writes where it must not").devices(SDP_ON_CUDA),
           sdp::corruption<AtTwoBarriers>("at_two_barriers", "1.0.0", "Fails on the GPU").devices(SDP_ON_CUDA))
