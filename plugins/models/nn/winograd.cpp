#include "plugins/models/nn/winograd.hpp"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <atomic>

#include "plugins/models/nn/parallel.hpp"
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

Image image_of(const at::Tensor& x) {
  return {const_cast<float*>(x.const_data_ptr<float>()), x.size(2), x.size(3), x.size(1)};
}

at::Tensor transformed(const Filter& w) {
  const int64_t step = frequency_of_filter(w.depth), size = frequencies * step, n = chunks(w.columns);
  at::Tensor u = at::empty({n, size}, at::kFloat);
  float* const to = u.data_ptr<float>();
  parallel(n, [&](int64_t i) {
    run(FilterTransform{w.data + i * chunk * w.column, w.row, w.column, w.flip, w.depth,
                        std::min(chunk, w.columns - i * chunk), to + i * size, step});
  });
  return u;
}

// One thread's work on a block of tiles at a time.
struct Worker {
  Image x, y;
  const float* u;
  const float* bias;
  int64_t tiles;  // of a block, at most
  float *v, *m, *outside;

  static int64_t scratch(int64_t tiles, int64_t in, int64_t out) {
    return frequencies * (spaced(tiles * padded(in)) + spaced(tiles * chunk)) + std::max(padded(in), padded(out));
  }
  int64_t v_step() const { return spaced(tiles * padded(x.channels)); }
  int64_t m_step() const { return spaced(tiles * chunk); }

  void run_block(int64_t first, int64_t count) const {
    std::fill_n(outside, x.channels, 0.0f);  // OutputTransform wrote there
    run(InputTransform{x, first, count, outside, v, v_step(), padded(x.channels)});
    for (int64_t i = 0; i < chunks(y.channels); ++i) {
      const int64_t channel = i * chunk, columns = std::min(chunk, y.channels - channel);
      for (int64_t f = 0; f < frequencies; ++f)
        run(Product{count, columns, x.channels, v + f * v_step(), padded(x.channels), 1,
                    u + (i * frequencies + f) * frequency_of_filter(x.channels), m + f * m_step(), false});
      run(OutputTransform{m, m_step(), y, first, count, channel, columns, bias ? bias + channel : nullptr, outside});
    }
  }
};

at::Tensor convolve(const at::Tensor& x_in, const Filter& w, const at::Tensor& bias) {
  const at::Tensor x = x_in.contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor y =
      at::empty({x.size(0), w.columns, x.size(2), x.size(3)}, x.options(), at::MemoryFormat::ChannelsLast);
  const at::Tensor u = transformed(w);
  const Image from = image_of(x), to = image_of(y);
  const int64_t all = x.size(0) * from.down() * from.across();
  const int64_t tiles = std::min(most_tiles, (all + at::get_num_threads() - 1) / at::get_num_threads());
  const int64_t blocks = (all + tiles - 1) / tiles, workers = std::min<int64_t>(blocks, at::get_num_threads());
  const int64_t size = Worker::scratch(tiles, w.depth, w.columns);
  const at::Tensor scratch = at::empty({workers, size}, at::kFloat);
  std::atomic<int64_t> next{0};
  parallel(workers, [&](int64_t i) {
    float* const v = scratch.data_ptr<float>() + i * size;
    Worker worker{from, to, u.data_ptr<float>(), bias.defined() ? bias.data_ptr<float>() : nullptr, tiles, v, {}, {}};
    worker.m = v + frequencies * worker.v_step();
    worker.outside = worker.m + frequencies * worker.m_step();
    for (int64_t b; (b = next++) < blocks;) worker.run_block(b * tiles, std::min(tiles, all - b * tiles));
  });
  return y;
}

// Blocks of tiles add to gU one after the other, the same ones for any number of threads, which share the transforms of
// a block first and its 36 products then.
struct FilterGradientOfBlocks {
  Image x, gy;
  int64_t tiles;  // of a block, at most
  float *u, *v, *m, *zeros;

  static int64_t tiles_of_block(int64_t in, int64_t out) {
    constexpr int64_t floats = 1 << 20;  // of V and gM together
    return std::clamp<int64_t>(floats / (frequencies * (in + out)) / 12 * 12, 60, 240);
  }
  int64_t u_step() const { return frequency_of_filter(x.channels); }
  int64_t v_step() const { return spaced(tiles * padded(x.channels)); }
  int64_t m_step() const { return spaced(tiles * chunk); }

  void add_block(int64_t first, int64_t count) const {
    constexpr int64_t piece = 12;
    parallel((count + piece - 1) / piece,
             [&](int64_t i) { transform_piece(first, i * piece, std::min(piece, count - i * piece)); });
    parallel(chunks(gy.channels) * frequencies, [&](int64_t i) {
      const int64_t c = i / frequencies, f = i % frequencies, row = padded(x.channels);
      run(Product{x.channels, std::min(chunk, gy.channels - c * chunk), count, v + f * v_step(), 1, row,
                  m + i * m_step(), u + i * u_step(), first > 0});
    });
  }
  void transform_piece(int64_t first, int64_t from, int64_t count) const {
    const int64_t row = padded(x.channels);
    run(InputTransform{x, first + from, count, zeros, v + from * row, v_step(), row});
    for (int64_t c = 0; c < chunks(gy.channels); ++c)
      run(GradientTransform{gy, first + from, count, c * chunk, std::min(chunk, gy.channels - c * chunk), zeros,
                            m + c * frequencies * m_step() + from * chunk, m_step()});
  }
  void finish(float* gw) const {
    parallel(chunks(gy.channels), [&](int64_t i) {
      run(FilterGradient{u + i * frequencies * u_step(), u_step(), x.channels, std::min(chunk, gy.channels - i * chunk),
                         gw + i * chunk * x.channels * 9, 9, x.channels * 9});
    });
  }
};

}  // namespace

at::Tensor convolve(const at::Tensor& x, const at::Tensor& weight_in, const at::Tensor& bias) {
  const at::Tensor weight = weight_in.contiguous();
  return convolve(
      x, Filter{weight.const_data_ptr<float>(), weight.size(1), weight.size(0), 9, weight.size(1) * 9, false}, bias);
}

at::Tensor input_gradient(const at::Tensor& gy, const at::Tensor& weight_in) {
  const at::Tensor weight = weight_in.contiguous();
  return convolve(
      gy, Filter{weight.const_data_ptr<float>(), weight.size(0), weight.size(1), weight.size(1) * 9, 9, true}, {});
}

at::Tensor weight_gradient(const at::Tensor& gy_in, const at::Tensor& x_in) {
  const at::Tensor x = x_in.contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor gy = gy_in.contiguous(at::MemoryFormat::ChannelsLast);
  const int64_t in = x.size(1), out = gy.size(1);
  FilterGradientOfBlocks g{image_of(x), image_of(gy), 0, {}, {}, {}, {}};
  const int64_t all = x.size(0) * g.x.down() * g.x.across();
  g.tiles = std::min(all, FilterGradientOfBlocks::tiles_of_block(in, out));
  const int64_t of_u = chunks(out) * frequencies * g.u_step(), of_v = frequencies * g.v_step(),
                of_m = chunks(out) * frequencies * g.m_step();
  const at::Tensor scratch = at::empty({of_u + of_v + of_m}, at::kFloat);
  const at::Tensor zeros = at::zeros({std::max(in, out)}, at::kFloat);
  g.u = scratch.data_ptr<float>();
  g.v = g.u + of_u;
  g.m = g.v + of_v;
  g.zeros = zeros.data_ptr<float>();
  for (int64_t first = 0; first < all; first += g.tiles) g.add_block(first, std::min(g.tiles, all - first));
  at::Tensor gw = at::empty({out, in, 3, 3}, at::kFloat);
  g.finish(gw.data_ptr<float>());
  return gw;
}

}  // namespace sdpipe::nn::winograd
