// The steps of Winograd's F(4x4, 3x3) (winograd.hpp), each in the widest vectors that the processor has.
//
// A tile is 4 x 4 pixels of the output. With n channels behind each of the 36 = 6 x 6 frequencies:
//   U = G w G^T       of a 3 x 3 filter         V = B^T d B        of the 6 x 6 pixels of the input around the tile
//   M = sum U V       over input channels       y = A^T M A        the tile
// and for the filter's gradient, with gy in the tile's place,
//   gM = A gy A^T,    gU = sum gM V over tiles, gw = G^T gU G.
// A, B, G: Lavin and Gray, "Fast algorithms for convolutional neural networks" (arXiv 1509.09308), Section 4.3.
//
// Images are channels-last. Output channels come in chunks of 64: U and gU are (chunk, frequency, input channel, 64),
// V is (frequency, tile, input channel), M and gM are (frequency, tile, 64), with the stride of a frequency given.
#pragma once

#include <cstdint>

#include "plugins/models/nn/winograd_transforms.hpp"

namespace sdpipe::nn::winograd {

constexpr int64_t chunk = 64, frequencies = 36;

// Channels-last pixels, cut into tiles.
struct Image {
  float* data;
  int64_t height, width, channels;
  int64_t down() const { return (height + 3) / 4; }
  int64_t across() const { return (width + 3) / 4; }

  // Addresses of the Side x Side pixels from `shift` pixels before tile t on; `outside` where there is none.
  template <int Side>
  void around(int64_t t, int64_t shift, float* outside, float* (&pixel)[Side * Side]) const {
    const int64_t image = t / (down() * across()), rest = t % (down() * across());
    const int64_t top = rest / across() * 4 - shift, left = rest % across() * 4 - shift;
    for (int64_t i = 0; i < Side; ++i) {
      for (int64_t j = 0; j < Side; ++j) {
        const bool inside = top + i >= 0 && top + i < height && left + j >= 0 && left + j < width;
        pixel[i * Side + j] = inside ? data + ((image * height + top + i) * width + left + j) * channels : outside;
      }
    }
  }
};

// U of one chunk. Element (input channel k, output channel n) of the filter lies at k * row + n * column and takes 9
// floats, in reverse order with `flip`.
struct FilterTransform {
  const float* filter;
  int64_t row, column;
  bool flip;
  int64_t depth, columns;  // input channels; output channels of this chunk
  float* u;
  int64_t frequency;

  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    constexpr int64_t width = Lanes<Bytes>::width;
    for (int64_t n = 0; n < columns; n += width) {
      const int64_t here = columns - n < width ? columns - n : width;
      for (int64_t k = 0; k < depth; ++k) one<Bytes>(filter + k * row + n * column, here, u + k * chunk + n);
    }
  }
  template <int Bytes>
  [[gnu::always_inline]] void one(const float* w, int64_t here, float* out) const {
    float gathered[9][Lanes<Bytes>::width] = {};
    for (int64_t n = 0; n < here; ++n)
      for (int64_t r = 0; r < 9; ++r) gathered[flip ? 8 - r : r][n] = w[n * column + r];
    typename Lanes<Bytes>::Register square[36];
    for (int r = 0; r < 9; ++r) load<Bytes, true>(square[r / 3 * 6 + r % 3], gathered[r], 0);
    transform<G, 3, 6>(square);
    for (int f = 0; f < frequencies; ++f) store<Bytes, true>(out + f * frequency, square[f], 0);
  }
};

// V of tiles first to first + count in the channels from `channel` on, in rows of `row` floats.
struct InputTransform {
  Image x;
  int64_t first, count, channel, columns;
  float* outside;  // zeros for every channel
  float* v;
  int64_t frequency, row;

  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    constexpr int64_t width = Lanes<Bytes>::width;
    float* pixel[36];
    for (int64_t t = 0; t < count; ++t) {
      x.around<6>(first + t, 1, outside, pixel);
      int64_t c = 0;
      for (; c + width <= columns; c += width) one<Bytes, true>(pixel, c, v + t * row + c);
      if (c < columns) one<Bytes, false>(pixel, c, v + t * row + c);
    }
  }
  template <int Bytes, bool Whole>
  [[gnu::always_inline]] void one(float* const (&pixel)[36], int64_t c, float* out) const {
    typename Lanes<Bytes>::Register square[36];
    for (int i = 0; i < 36; ++i) load<Bytes, Whole>(square[i], pixel[i] + channel + c, columns - c);
    transform<TransposedB, 6, 6>(square);
    for (int f = 0; f < frequencies; ++f) store<Bytes, true>(out + f * frequency, square[f], 0);
  }
};

// y of tiles first to first + count in the channels from `channel` on, from M.
struct OutputTransform {
  const float* m;
  int64_t frequency;
  Image y;
  int64_t first, count, channel, columns;
  const float* bias;  // of the channels from `channel` on, or none
  float* outside;     // where pixels beyond the border go

  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    constexpr int64_t width = Lanes<Bytes>::width;
    float* pixel[16];
    for (int64_t t = 0; t < count; ++t) {
      y.around<4>(first + t, 0, outside, pixel);
      int64_t c = 0;
      for (; c + width <= columns; c += width) one<Bytes, true>(pixel, c, m + t * chunk + c);
      if (c < columns) one<Bytes, false>(pixel, c, m + t * chunk + c);
    }
  }
  template <int Bytes, bool Whole>
  [[gnu::always_inline]] void one(float* const (&pixel)[16], int64_t c, const float* in) const {
    typename Lanes<Bytes>::Register square[36], b = {};
    for (int f = 0; f < frequencies; ++f) load<Bytes, true>(square[f], in + f * frequency, 0);
    transform<TransposedA, 6, 4>(square);
    if (bias) load<Bytes, Whole>(b, bias + c, columns - c);
    for (int i = 0; i < 16; ++i)
      store<Bytes, Whole>(pixel[i] + channel + c, square[i / 4 * 6 + i % 4] + b, columns - c);
  }
};

// gM of tiles first to first + count in the channels from `channel` on.
struct GradientTransform {
  Image gy;
  int64_t first, count, channel, columns;
  float* outside;  // zeros for every channel
  float* m;
  int64_t frequency;

  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    constexpr int64_t width = Lanes<Bytes>::width;
    float* pixel[16];
    for (int64_t t = 0; t < count; ++t) {
      gy.around<4>(first + t, 0, outside, pixel);
      int64_t c = 0;
      for (; c + width <= columns; c += width) one<Bytes, true>(pixel, c, m + t * chunk + c);
      if (c < columns) one<Bytes, false>(pixel, c, m + t * chunk + c);
    }
  }
  template <int Bytes, bool Whole>
  [[gnu::always_inline]] void one(float* const (&pixel)[16], int64_t c, float* out) const {
    typename Lanes<Bytes>::Register square[36];
    for (int i = 0; i < 16; ++i) load<Bytes, Whole>(square[i / 4 * 6 + i % 4], pixel[i] + channel + c, columns - c);
    transform<A, 4, 6>(square);
    for (int f = 0; f < frequencies; ++f) store<Bytes, true>(out + f * frequency, square[f], 0);
  }
};

// gw of one chunk, laid out as FilterTransform's filter, from gU: set, or with `add` added to.
struct FilterGradient {
  const float* u;
  int64_t frequency, depth, columns;
  float* filter;
  int64_t row, column;
  bool add;

  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    constexpr int64_t width = Lanes<Bytes>::width;
    for (int64_t n = 0; n < columns; n += width) {
      const int64_t here = columns - n < width ? columns - n : width;
      for (int64_t k = 0; k < depth; ++k) one<Bytes>(u + k * chunk + n, here, filter + k * row + n * column);
    }
  }
  template <int Bytes>
  [[gnu::always_inline]] void one(const float* in, int64_t here, float* w) const {
    typename Lanes<Bytes>::Register square[36];
    for (int f = 0; f < frequencies; ++f) load<Bytes, true>(square[f], in + f * frequency, 0);
    transform<TransposedG, 6, 3>(square);
    float scattered[9][Lanes<Bytes>::width];
    for (int r = 0; r < 9; ++r) store<Bytes, true>(scattered[r], square[r / 3 * 6 + r % 3], 0);
    for (int64_t n = 0; n < here; ++n)
      for (int64_t r = 0; r < 9; ++r) w[n * column + r] = add ? w[n * column + r] + scattered[r][n] : scattered[r][n];
  }
};

// c = a b, or c += a b, with sums in registers, where g++ keeps them only if all loops but the longest are unrolled:
// a's element (row, depth) at row * a_row + depth * a_depth, b and c in rows of a chunk.
struct Product {
  int64_t rows, columns, depth;
  const float* a;
  int64_t a_row, a_depth;
  const float* b;
  float* c;
  bool add;

  template <int Bytes>
  [[gnu::always_inline]] void run() const {
    constexpr int64_t width = Lanes<Bytes>::width;
    int64_t column = 0;
    if constexpr (Bytes == 64)  // with 32 registers, 24 of them for sums
      for (; column + 3 * width < columns; column += 4 * width) all_rows<Bytes, 4>(column);
    for (; column + width < columns; column += 2 * width) all_rows<Bytes, 2>(column);
    for (; column < columns; column += width) all_rows<Bytes, 1>(column);
  }
  template <int Bytes, int Vectors>
  [[gnu::always_inline]] void all_rows(int64_t column) const {
    constexpr int most = Bytes == 16 ? 4 : 6;
    int64_t row = 0;
    for (; row + most <= rows; row += most) block<Bytes, most, Vectors>(row, column);
    for (; row + 2 <= rows; row += 2) block<Bytes, 2, Vectors>(row, column);
    for (; row < rows; ++row) block<Bytes, 1, Vectors>(row, column);
  }
  template <int Bytes, int Rows, int Vectors>
  [[gnu::always_inline]] void block(int64_t row, int64_t column) const {
    using Register = typename Lanes<Bytes>::Register;
    constexpr int64_t width = Lanes<Bytes>::width;
    Register sum[Rows][Vectors] = {};
    const float* left = a + row * a_row;
    const float* right = b + column;
    for (int64_t k = 0; k < depth; ++k, left += a_depth, right += chunk) {
      Register line[Vectors];
#pragma GCC unroll 8
      for (int j = 0; j < Vectors; ++j) load<Bytes, true>(line[j], right + j * width, 0);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
        for (int j = 0; j < Vectors; ++j) sum[r][j] += left[r * a_row] * line[j];
    }
    float* const to = c + row * chunk + column;
    if (add) {
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
        for (int j = 0; j < Vectors; ++j) {
          Register before;
          load<Bytes, true>(before, to + r * chunk + j * width, 0);
          sum[r][j] += before;
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int j = 0; j < Vectors; ++j) store<Bytes, true>(to + r * chunk + j * width, sum[r][j], 0);
  }
};

#if defined(__x86_64__)
// Chosen at run time by hand: the ifuncs of target_clones run before a sanitizer is ready.
template <class Step>
[[gnu::target("avx512f,avx512vl,fma")]] void run_avx512(const Step& s) {
  s.template run<64>();
}
template <class Step>
[[gnu::target("avx2,fma")]] void run_avx2(const Step& s) {
  s.template run<32>();
}
#endif

template <class Step>
void run(const Step& s) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) return run_avx512(s);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return run_avx2(s);
#endif
  s.template run<16>();
}

}  // namespace sdpipe::nn::winograd
