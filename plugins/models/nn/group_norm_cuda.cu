#include "plugins/models/nn/group_norm_cuda.hpp"

#include <cuda_bf16.h>

#include "core/abi/cuda_launch.hpp"

namespace sdpipe::nn {
namespace {

constexpr unsigned threads = 256;

__device__ float widened(float x) { return x; }
__device__ float widened(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ void store(float& to, float value) { to = value; }
__device__ void store(__nv_bfloat16& to, float value) { to = __float2bfloat16(value); }

// One group of one sample, whose elements are numbered from 0 in the order of memory.
struct Group {
  int64_t first, sample;  // `first` of its elements
  unsigned group, size, channels;
  NormInput in;

  __device__ Group(const NormInput& input, unsigned index) : in(input) {
    const auto groups = static_cast<unsigned>(in.groups);
    group = index % groups;
    sample = index / groups;
    channels = static_cast<unsigned>(in.channels / in.groups);
    size = channels * static_cast<unsigned>(in.pixels);
    first = sample * in.channels * in.pixels + group * (in.channels_last ? channels : int64_t{size});
  }
  __device__ int64_t place(unsigned i) const {
    return first + (in.channels_last ? i / channels * in.channels + i % channels : int64_t{i});
  }
  __device__ unsigned channel(unsigned i) const {
    return group * channels + (in.channels_last ? i % channels : i / static_cast<unsigned>(in.pixels));
  }
};

// The sum of every thread's value, for all threads.
__device__ float sum_of_block(float value) {
  __shared__ float values[threads];
  __syncthreads();  // whoever still reads the sum before this one
  values[threadIdx.x] = value;
  for (unsigned half = threads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) values[threadIdx.x] += values[threadIdx.x + half];
  }
  __syncthreads();
  return values[0];
}

// What the elements of a channel of a sample share: xhat = (x + offset - mean) rstd, v = xhat slope + intercept.
struct Channel {
  float mean, rstd, offset, slope, intercept;

  __device__ Channel(const NormInput& in, int64_t sample, int64_t c, float mean_of_group, float rstd_of_group)
      : mean(mean_of_group), rstd(rstd_of_group), offset(value(in.offset, in, sample, c)) {
    const float scale = 1 + value(in.scale, in, sample, c);
    slope = in.weight[c] * scale;
    intercept = in.bias[c] * scale + value(in.shift, in, sample, c);
  }
  __device__ static float value(const float* of_channels, const NormInput& in, int64_t sample, int64_t c) {
    return of_channels ? of_channels[sample * in.channels + c] : 0;
  }
  __device__ float normalised(float x) const { return (x + offset - mean) * rstd; }
  __device__ float forward(float x, bool silu) const {
    const float v = normalised(x) * slope + intercept;
    return silu ? v / (1 + std::exp(-v)) : v;
  }
  // dv = dy s (1 + v (1 - s)) with s = 1 / (1 + exp(-v)), or dy
  __device__ float behind_activation(float x, float dy, bool silu) const {
    if (!silu) return dy;
    const float v = normalised(x) * slope + intercept, s = 1 / (1 + std::exp(-v));
    return dy * s * (1 + v * (1 - s));
  }
};

// One block for each group. The variance is that of the differences from the mean: nothing cancels.
template <class T>
__global__ void forward(const NormInput in, float epsilon, const NormOutput out) {
  const Group group(in, blockIdx.x);
  const T* x = static_cast<const T*>(in.x);
  T* y = static_cast<T*>(out.y);
  const auto size = static_cast<float>(group.size);
  const auto moved = [&](unsigned i) {
    return widened(x[group.place(i)]) + Channel::value(in.offset, in, group.sample, group.channel(i));
  };
  float sum = 0, squares = 0;
  for (unsigned i = threadIdx.x; i < group.size; i += threads) sum += moved(i);
  const float mean = sum_of_block(sum) / size;
  for (unsigned i = threadIdx.x; i < group.size; i += threads) squares += (moved(i) - mean) * (moved(i) - mean);
  const float rstd = 1 / std::sqrt(sum_of_block(squares) / size + epsilon);
  for (unsigned i = threadIdx.x; i < group.size; i += threads) {
    const Channel channel(in, group.sample, group.channel(i), mean, rstd);
    store(y[group.place(i)], channel.forward(widened(x[group.place(i)]), in.silu));
  }
  if (threadIdx.x == 0) {
    out.mean[blockIdx.x] = mean;
    out.rstd[blockIdx.x] = rstd;
  }
}

// Over the pixels of each channel of each sample.
struct Sums {
  float of_dv, of_dv_xhat, of_xhat;

  __device__ void add(const Sums& other) {
    of_dv += other.of_dv;
    of_dv_xhat += other.of_dv_xhat;
    of_xhat += other.of_xhat;
  }
  __device__ static Sums at(const NormInput& in, const NormGradients& g, int64_t sample, int64_t c) {
    const int64_t all = in.samples * in.channels, i = sample * in.channels + c;
    return {g.sums[i], g.sums[all + i], g.sums[2 * all + i]};
  }
};

// A block has as many channels as make a stretch of memory, and the threads of a channel share its pixels.
constexpr unsigned stretch = 32;

template <class T, unsigned Channels>
__global__ void channel_sums(const NormInput in, const NormGradients g) {
  __shared__ Sums shared[threads];
  const auto tiles = static_cast<unsigned>((in.channels + Channels - 1) / Channels);
  const int64_t sample = blockIdx.x / tiles, c = blockIdx.x % tiles * Channels + threadIdx.x % Channels;
  const T *x = static_cast<const T*>(in.x), *dy = static_cast<const T*>(g.dy);
  Sums sums{0, 0, 0};
  if (c < in.channels) {
    const int64_t group = sample * in.groups + c / (in.channels / in.groups);
    const Channel channel(in, sample, c, g.mean[group], g.rstd[group]);
    for (int64_t p = threadIdx.x / Channels; p < in.pixels; p += threads / Channels) {
      const int64_t i =
          in.channels_last ? (sample * in.pixels + p) * in.channels + c : (sample * in.channels + c) * in.pixels + p;
      const float dv = channel.behind_activation(widened(x[i]), widened(dy[i]), in.silu);
      const float xhat = channel.normalised(widened(x[i]));
      sums.add({dv, dv * xhat, xhat});
    }
  }
  shared[threadIdx.x] = sums;
  for (unsigned half = threads / 2; half >= Channels; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) shared[threadIdx.x].add(shared[threadIdx.x + half]);
  }
  if (threadIdx.x >= Channels || c >= in.channels) return;
  const int64_t all = in.samples * in.channels, i = sample * in.channels + c;
  g.sums[i] = shared[threadIdx.x].of_dv;
  g.sums[all + i] = shared[threadIdx.x].of_dv_xhat;
  g.sums[2 * all + i] = shared[threadIdx.x].of_xhat;
}

// Means over a group of du and du xhat, where du = dv slope is the gradient in xhat.
struct GroupMeans {
  float of_du = 0, of_du_xhat = 0;

  __device__ GroupMeans(const NormInput& in, const NormGradients& g, int64_t sample, int64_t group) {
    const int64_t channels = in.channels / in.groups;
    for (int64_t c = group * channels; c < (group + 1) * channels; ++c) {
      const float slope = in.weight[c] * (1 + Channel::value(in.scale, in, sample, c));
      const Sums sums = Sums::at(in, g, sample, c);
      of_du += slope * sums.of_dv;
      of_du_xhat += slope * sums.of_dv_xhat;
    }
    of_du /= static_cast<float>(channels * in.pixels);
    of_du_xhat /= static_cast<float>(channels * in.pixels);
  }
};

// dx = rstd (du - mean(du) - xhat mean(du xhat)): one block for each group.
template <class T>
__global__ void backward(const NormInput in, const NormGradients g) {
  const Group group(in, blockIdx.x);
  const GroupMeans means(in, g, group.sample, group.group);
  const T *x = static_cast<const T*>(in.x), *dy = static_cast<const T*>(g.dy);
  T* dx = static_cast<T*>(g.dx);
  for (unsigned i = threadIdx.x; i < group.size; i += threads) {
    const Channel channel(in, group.sample, group.channel(i), g.mean[blockIdx.x], g.rstd[blockIdx.x]);
    const int64_t place = group.place(i);
    const float value = widened(x[place]), dv = channel.behind_activation(value, widened(dy[place]), in.silu);
    store(dx[place], channel.rstd * (dv * channel.slope - means.of_du - channel.normalised(value) * means.of_du_xhat));
  }
}

// v = (xhat weight + bias) (1 + scale) + shift; the gradient in the offset is the sum of dx.
__global__ void modulation_gradients(const NormInput in, const NormGradients g) {
  const int64_t i = int64_t{blockIdx.x} * threads + threadIdx.x;
  if (i >= in.samples * in.channels) return;
  const int64_t sample = i / in.channels, c = i % in.channels, group = c / (in.channels / in.groups);
  const Sums sums = Sums::at(in, g, sample, c);
  if (g.scale) g.scale[i] = in.weight[c] * sums.of_dv_xhat + in.bias[c] * sums.of_dv;
  if (g.shift) g.shift[i] = sums.of_dv;
  if (!g.offset) return;
  const GroupMeans means(in, g, sample, group);
  const float slope = in.weight[c] * (1 + Channel::value(in.scale, in, sample, c));
  g.offset[i] = g.rstd[sample * in.groups + group] *
                (slope * sums.of_dv - means.of_du * static_cast<float>(in.pixels) - means.of_du_xhat * sums.of_xhat);
}

__global__ void weight_gradients(const NormInput in, const NormGradients g) {
  const int64_t c = int64_t{blockIdx.x} * threads + threadIdx.x;
  if (c >= in.channels) return;
  float weight = 0, bias = 0;
  for (int64_t sample = 0; sample < in.samples; ++sample) {
    const Sums sums = Sums::at(in, g, sample, c);
    const float scale = 1 + Channel::value(in.scale, in, sample, c);
    weight += scale * sums.of_dv_xhat;
    bias += scale * sums.of_dv;
  }
  g.weight[c] = weight;
  g.bias[c] = bias;
}

unsigned blocks(int64_t work, int64_t each) { return static_cast<unsigned>((work + each - 1) / each); }

template <class T>
int forward_of(const NormInput& in, float epsilon, const NormOutput& out, cudaStream_t queue) {
  return sdp::launch({blocks(in.samples * in.groups, 1), threads, 0, queue}, forward<T>, in, epsilon, out);
}

template <class T>
int backward_of(const NormInput& in, const NormGradients& g, cudaStream_t queue) {
  cudaError_t error = cudaSuccess;
  const auto launch = [&](unsigned n_blocks, void (*kernel)(NormInput, NormGradients)) {
    if (error == cudaSuccess) error = sdp::launch({n_blocks, threads, 0, queue}, kernel, in, g);
  };
  if (in.channels_last)
    launch(blocks(in.channels, stretch) * blocks(in.samples, 1), channel_sums<T, stretch>);
  else
    launch(blocks(in.samples * in.channels, 1), channel_sums<T, 1>);
  launch(blocks(in.samples * in.groups, 1), backward<T>);
  launch(blocks(in.channels, threads), weight_gradients);
  if (g.offset || g.scale || g.shift) launch(blocks(in.samples * in.channels, threads), modulation_gradients);
  return error;
}

}  // namespace

int launch_group_norm(const NormInput& in, float epsilon, const NormOutput& out, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  return in.narrow ? forward_of<__nv_bfloat16>(in, epsilon, out, queue) : forward_of<float>(in, epsilon, out, queue);
}

int launch_group_norm_backward(const NormInput& in, const NormGradients& g, void* stream) {
  const auto queue = static_cast<cudaStream_t>(stream);
  return in.narrow ? backward_of<__nv_bfloat16>(in, g, queue) : backward_of<float>(in, g, queue);
}

const char* norm_error(int code) { return cudaGetErrorString(static_cast<cudaError_t>(code)); }

}  // namespace sdpipe::nn
