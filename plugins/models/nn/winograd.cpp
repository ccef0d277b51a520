#include "plugins/models/nn/winograd.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <atomic>

#include "core/abi/torch_parallel.hpp"
#include "plugins/models/nn/winograd_steps.hpp"

namespace sdpipe::nn::winograd {

namespace {

// Tiles that are transformed and multiplied together: so few that they stay in the cache, so many that a chunk of U
// is read for a good deal of work. A multiple of Product's rows.
constexpr int64_t most_tiles = 60;

// Vectors of the transforms write whole lines of V.
int64_t padded(int64_t channels) { return (channels + 15) / 16 * 16; }
// One line more, so that a tile's frequencies do not all fall into one set of the cache.
int64_t spaced(int64_t floats) { return floats + 16; }
int64_t frequency_of_filter(int64_t depth) { return spaced(depth * chunk); }
int64_t chunks(int64_t channels) { return (channels + chunk - 1) / chunk; }

// A filter with its sides named by what it does: element (k, n) maps input channel k to output channel n.
struct Filter {
  const float* data;
  int64_t depth, columns, row, column;
  bool flip;
};

template <class T>
Image<T> image_of(const at::Tensor& x) {
  return {static_cast<T*>(const_cast<void*>(x.const_data_ptr())), x.size(2), x.size(3), x.size(1)};
}

// work(zero of the type that x's numbers have in memory).
template <class Work>
at::Tensor by_dtype(const at::Tensor& x, const Work& work) {
  TORCH_CHECK(takes(x.scalar_type()), "Winograd's form takes float32 and bfloat16, not ", x.scalar_type());
  return x.scalar_type() == at::kBFloat16 ? work(Bfloat16{}) : work(float{});
}

at::Tensor transformed(const Filter& w) {
  const int64_t step = frequency_of_filter(w.depth), size = frequencies * step, n = chunks(w.columns);
  at::Tensor u = at::empty({n, size}, at::kFloat);
  float* const to = u.data_ptr<float>();
  sdp::parallel(n, [&](int64_t i) {
    run(FilterTransform{w.data + i * chunk * w.column, w.row, w.column, w.flip, w.depth,
                        std::min(chunk, w.columns - i * chunk), to + i * size, step});
  });
  return u;
}

// One thread's work on a block of tiles at a time.
template <class T>
struct Worker {
  Image<T> x, y;
  const float* u;
  const float* bias;
  int64_t tiles;  // of a block, at most
  float *v, *m;
  T* outside;

  static int64_t scratch(int64_t tiles, int64_t in, int64_t out) {
    return frequencies * (spaced(tiles * padded(in)) + spaced(tiles * chunk)) + std::max(padded(in), padded(out));
  }
  int64_t v_step() const { return spaced(tiles * padded(x.channels)); }
  int64_t m_step() const { return spaced(tiles * chunk); }

  void run_block(int64_t first, int64_t count) const {
    std::fill_n(outside, x.channels, T{});  // OutputTransform wrote there
    run(InputTransform<T>{x, first, count, 0, x.channels, outside, v, v_step(), padded(x.channels)});
    for (int64_t i = 0; i < chunks(y.channels); ++i) {
      const int64_t channel = i * chunk, columns = std::min(chunk, y.channels - channel);
      for (int64_t f = 0; f < frequencies; ++f)
        run(Product{count, columns, x.channels, v + f * v_step(), padded(x.channels), 1,
                    u + (i * frequencies + f) * frequency_of_filter(x.channels), m + f * m_step(), false});
      run(OutputTransform<T>{m, m_step(), y, first, count, channel, columns, bias ? bias + channel : nullptr, outside});
    }
  }
};

template <class T>
at::Tensor convolve(const at::Tensor& x_in, const Filter& w, const at::Tensor& bias) {
  const at::Tensor x = x_in.contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor y =
      at::empty({x.size(0), w.columns, x.size(2), x.size(3)}, x.options(), at::MemoryFormat::ChannelsLast);
  if (y.numel() == 0) return y;
  const at::Tensor u = transformed(w);
  const Image<T> from = image_of<T>(x), to = image_of<T>(y);
  const int64_t all = x.size(0) * from.down() * from.across();
  const int64_t tiles = std::min(most_tiles, (all + at::get_num_threads() - 1) / at::get_num_threads());
  const int64_t blocks = (all + tiles - 1) / tiles, workers = std::min<int64_t>(blocks, at::get_num_threads());
  const int64_t size = Worker<T>::scratch(tiles, w.depth, w.columns);
  const at::Tensor scratch = at::empty({workers, size}, at::kFloat);
  std::atomic<int64_t> next{0};
  sdp::parallel(workers, [&](int64_t i) {
    float* const v = scratch.data_ptr<float>() + i * size;
    Worker<T> worker{from, to, u.data_ptr<float>(), bias.defined() ? bias.data_ptr<float>() : nullptr, tiles, v,
                     {},   {}};
    worker.m = v + frequencies * worker.v_step();
    worker.outside = reinterpret_cast<T*>(worker.m + frequencies * worker.m_step());
    for (int64_t b; (b = next++) < blocks;) worker.run_block(b * tiles, std::min(tiles, all - b * tiles));
  });
  return y;
}

// The gradient of the filters of some input channels, `depth` of them from `channel` on: one thread's part. Tiles are
// summed in one order, whatever the parts, in three steps, each of few summands, for rounding errors grow with those:
// the tiles of a block, blocks in gU, and every so many of these in gw.
template <class T>
struct FilterGradients {
  Image<T> x, gy;
  int64_t channel, depth;
  T* zeros;

  int64_t u_step() const { return frequency_of_filter(depth); }
  int64_t v_step() const { return spaced(most_tiles * padded(depth)); }
  int64_t m_step() const { return spaced(most_tiles * chunk); }
  int64_t scratch() const { return frequencies * (chunks(gy.channels) * u_step() + v_step() + m_step()); }

  void find(int64_t tiles, float* u, float* gw) const {
    float* const v = u + frequencies * chunks(gy.channels) * u_step();
    float* const m = v + frequencies * v_step();
    constexpr int64_t most = 64 * most_tiles;
    for (int64_t begin = 0; begin < tiles; begin += most) {
      const int64_t end = std::min(tiles, begin + most);
      for (int64_t first = begin; first < end; first += most_tiles)
        add_block(first, std::min(most_tiles, end - first), first > begin, u, v, m);
      for (int64_t i = 0; i < chunks(gy.channels); ++i)
        run(FilterGradient{u + i * frequencies * u_step(), u_step(), depth, columns(i),
                           gw + (i * chunk * x.channels + channel) * 9, 9, x.channels * 9, begin > 0});
    }
  }
  void add_block(int64_t first, int64_t count, bool add, float* u, float* v, float* m) const {
    run(InputTransform<T>{x, first, count, channel, depth, zeros, v, v_step(), padded(depth)});
    for (int64_t i = 0; i < chunks(gy.channels); ++i) {
      run(GradientTransform<T>{gy, first, count, i * chunk, columns(i), zeros, m, m_step()});
      for (int64_t f = 0; f < frequencies; ++f)
        run(Product{depth, columns(i), count, v + f * v_step(), 1, padded(depth), m + f * m_step(),
                    u + (i * frequencies + f) * u_step(), add});
    }
  }
  int64_t columns(int64_t i) const { return std::min(chunk, gy.channels - i * chunk); }
};

template <class T>
at::Tensor weight_gradient(const at::Tensor& gy, const at::Tensor& x) {
  const int64_t in = x.size(1), out = gy.size(1), threads = at::get_num_threads();
  const int64_t depth = padded((in + threads - 1) / threads), parts = (in + depth - 1) / depth;
  const Image<T> from = image_of<T>(x), to = image_of<T>(gy);
  const at::Tensor zeros = at::zeros({std::max(in, out)}, x.options());
  const FilterGradients<T> largest{from, to, 0, std::min(depth, in), static_cast<T*>(zeros.data_ptr())};
  const at::Tensor scratch = at::empty({parts, largest.scratch()}, at::kFloat);
  at::Tensor gw = at::empty({out, in, 3, 3}, at::kFloat);
  sdp::parallel(parts, [&](int64_t i) {
    FilterGradients<T> part = largest;
    part.channel = i * depth;
    part.depth = std::min(depth, in - part.channel);
    part.find(x.size(0) * from.down() * from.across(), scratch.data_ptr<float>() + i * largest.scratch(),
              gw.data_ptr<float>());
  });
  return gw.to(x.scalar_type());
}

// Of the filters and the bias; x itself is read in its own dtype.
at::Tensor in_float32(const at::Tensor& t) { return t.defined() ? t.to(at::kFloat).contiguous() : t; }

}  // namespace

at::Tensor convolve(const at::Tensor& x, const at::Tensor& weight_in, const at::Tensor& bias) {
  const at::Tensor weight = in_float32(weight_in);
  const Filter w{weight.const_data_ptr<float>(), weight.size(1), weight.size(0), 9, weight.size(1) * 9, false};
  return by_dtype(x, [&](auto zero) { return convolve<decltype(zero)>(x, w, in_float32(bias)); });
}

at::Tensor input_gradient(const at::Tensor& gy, const at::Tensor& weight_in) {
  const at::Tensor weight = in_float32(weight_in);
  const Filter w{weight.const_data_ptr<float>(), weight.size(0), weight.size(1), weight.size(1) * 9, 9, true};
  return by_dtype(gy, [&](auto zero) { return convolve<decltype(zero)>(gy, w, {}); });
}

at::Tensor weight_gradient(const at::Tensor& gy_in, const at::Tensor& x_in) {
  const at::Tensor x = x_in.contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor gy = gy_in.contiguous(at::MemoryFormat::ChannelsLast);
  TORCH_CHECK(gy.scalar_type() == x.scalar_type(), "x is of ", x.scalar_type(), ", its gradient of ", gy.scalar_type());
  if (x.numel() == 0) return at::zeros({gy.size(1), x.size(1), 3, 3}, x.options());
  return by_dtype(x, [&](auto zero) { return weight_gradient<decltype(zero)>(gy, x); });
}

}  // namespace sdpipe::nn::winograd
