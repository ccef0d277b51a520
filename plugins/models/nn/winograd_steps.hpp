// The steps of Winograd's F(4x4, 3x3) (winograd.hpp), each in the widest vectors that the processor has.
//
// A tile is 4 x 4 pixels of the output. With n channels behind each of the 36 = 6 x 6 frequencies:
//   U = G w G^T       of a 3 x 3 filter         V = B^T d B        of the 6 x 6 pixels of the input around the tile
//   M = sum U V       over input channels       y = A^T M A        the tile
// and for the filter's gradient, with gy in the tile's place,
//   gM = A gy A^T,    gU = sum gM V over tiles, gw = G^T gU G.
// A, B, G: Lavin and Gray, "Fast algorithms for convolutional neural networks" (arXiv 1509.09308), Section 4.3.
//
// Images are channels-last, of float32 or bfloat16; all else is float32. Output channels come in chunks of 64: U and gU
// are (chunk, frequency, input channel, 64), V is (frequency, tile, input channel), M and gM are (frequency, tile, 64),
// with the stride of a frequency given.
#pragma once

#include <cstdint>

#include "plugins/models/nn/vectors.hpp"
#include "plugins/models/nn/winograd_transforms.hpp"

namespace sdpipe::nn::winograd {

constexpr int64_t chunk = 64, frequencies = 36;

// Channels-last pixels, cut into tiles.
template <class T>
struct Image {
  T* data;
  int64_t height, width, channels;
  int64_t down() const { return (height + 3) / 4; }
  int64_t across() const { return (width + 3) / 4; }

  // Addresses of the Side x Side pixels from `shift` pixels before tile t on; `outside` where there is none.
  template <int Side>
  void around(int64_t t, int64_t shift, T* outside, T* (&pixel)[Side * Side]) const {
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

  template <class V>
  [[gnu::always_inline]] void run() const {
    constexpr int64_t width = V::lanes;
    for (int64_t n = 0; n < columns; n += width) {
      const int64_t here = columns - n < width ? columns - n : width;
      for (int64_t k = 0; k < depth; ++k) one<V>(filter + k * row + n * column, here, u + k * chunk + n);
    }
  }
  template <class V>
  [[gnu::always_inline]] void one(const float* w, int64_t here, float* out) const {
    float gathered[9][V::lanes] = {};
    for (int64_t n = 0; n < here; ++n)
      for (int64_t r = 0; r < 9; ++r) gathered[flip ? 8 - r : r][n] = w[n * column + r];
    typename V::Float square[36];
    for (int r = 0; r < 9; ++r) V::template load<true>(gathered[r], 0, square[r / 3 * 6 + r % 3]);
    transform<G, 3, 6>(square);
    for (int f = 0; f < frequencies; ++f) V::template store<true>(out + f * frequency, 0, square[f]);
  }
};

// V of tiles first to first + count in the channels from `channel` on, in rows of `row` floats.
template <class T>
struct InputTransform {
  Image<T> x;
  int64_t first, count, channel, columns;
  T* outside;  // zeros for every channel
  float* v;
  int64_t frequency, row;

  template <class V>
  [[gnu::always_inline]] void run() const {
    constexpr int64_t width = V::lanes;
    T* pixel[36];
    for (int64_t t = 0; t < count; ++t) {
      x.template around<6>(first + t, 1, outside, pixel);
      int64_t c = 0;
      for (; c + width <= columns; c += width) one<V, true>(pixel, c, v + t * row + c);
      if (c < columns) one<V, false>(pixel, c, v + t * row + c);
    }
  }
  template <class V, bool Whole>
  [[gnu::always_inline]] void one(T* const (&pixel)[36], int64_t c, float* out) const {
    typename V::Float square[36];
    for (int i = 0; i < 36; ++i) V::template load<Whole>(pixel[i] + channel + c, columns - c, square[i]);
    transform<TransposedB, 6, 6>(square);
    for (int f = 0; f < frequencies; ++f) V::template store<true>(out + f * frequency, 0, square[f]);
  }
};

// y of tiles first to first + count in the channels from `channel` on, from M.
template <class T>
struct OutputTransform {
  const float* m;
  int64_t frequency;
  Image<T> y;
  int64_t first, count, channel, columns;
  const float* bias;  // of the channels from `channel` on, or none
  T* outside;         // where pixels beyond the border go

  template <class V>
  [[gnu::always_inline]] void run() const {
    constexpr int64_t width = V::lanes;
    T* pixel[16];
    for (int64_t t = 0; t < count; ++t) {
      y.template around<4>(first + t, 0, outside, pixel);
      int64_t c = 0;
      for (; c + width <= columns; c += width) one<V, true>(pixel, c, m + t * chunk + c);
      if (c < columns) one<V, false>(pixel, c, m + t * chunk + c);
    }
  }
  template <class V, bool Whole>
  [[gnu::always_inline]] void one(T* const (&pixel)[16], int64_t c, const float* in) const {
    typename V::Float square[36], b = {};
    for (int f = 0; f < frequencies; ++f) V::template load<true>(in + f * frequency, 0, square[f]);
    transform<TransposedA, 6, 4>(square);
    if (bias) V::template load<Whole>(bias + c, columns - c, b);
    for (int i = 0; i < 16; ++i)
      V::template store<Whole>(pixel[i] + channel + c, columns - c, square[i / 4 * 6 + i % 4] + b);
  }
};

// gM of tiles first to first + count in the channels from `channel` on.
template <class T>
struct GradientTransform {
  Image<T> gy;
  int64_t first, count, channel, columns;
  T* outside;  // zeros for every channel
  float* m;
  int64_t frequency;

  template <class V>
  [[gnu::always_inline]] void run() const {
    constexpr int64_t width = V::lanes;
    T* pixel[16];
    for (int64_t t = 0; t < count; ++t) {
      gy.template around<4>(first + t, 0, outside, pixel);
      int64_t c = 0;
      for (; c + width <= columns; c += width) one<V, true>(pixel, c, m + t * chunk + c);
      if (c < columns) one<V, false>(pixel, c, m + t * chunk + c);
    }
  }
  template <class V, bool Whole>
  [[gnu::always_inline]] void one(T* const (&pixel)[16], int64_t c, float* out) const {
    typename V::Float square[36];
    for (int i = 0; i < 16; ++i)
      V::template load<Whole>(pixel[i] + channel + c, columns - c, square[i / 4 * 6 + i % 4]);
    transform<A, 4, 6>(square);
    for (int f = 0; f < frequencies; ++f) V::template store<true>(out + f * frequency, 0, square[f]);
  }
};

// gw of one chunk, laid out as FilterTransform's filter, from gU: set, or with `add` added to.
struct FilterGradient {
  const float* u;
  int64_t frequency, depth, columns;
  float* filter;
  int64_t row, column;
  bool add;

  template <class V>
  [[gnu::always_inline]] void run() const {
    constexpr int64_t width = V::lanes;
    for (int64_t n = 0; n < columns; n += width) {
      const int64_t here = columns - n < width ? columns - n : width;
      for (int64_t k = 0; k < depth; ++k) one<V>(u + k * chunk + n, here, filter + k * row + n * column);
    }
  }
  template <class V>
  [[gnu::always_inline]] void one(const float* in, int64_t here, float* w) const {
    typename V::Float square[36];
    for (int f = 0; f < frequencies; ++f) V::template load<true>(in + f * frequency, 0, square[f]);
    transform<TransposedG, 6, 3>(square);
    float scattered[9][V::lanes];
    for (int r = 0; r < 9; ++r) V::template store<true>(scattered[r], 0, square[r / 3 * 6 + r % 3]);
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

  template <class V>
  [[gnu::always_inline]] void run() const {
    constexpr int64_t width = V::lanes;
    int64_t column = 0;
    if constexpr (V::lanes == 16)  // with 32 registers, 24 of them for sums
      for (; column + 3 * width < columns; column += 4 * width) all_rows<V, 4>(column);
    for (; column + width < columns; column += 2 * width) all_rows<V, 2>(column);
    for (; column < columns; column += width) all_rows<V, 1>(column);
  }
  template <class V, int Wide>
  [[gnu::always_inline]] void all_rows(int64_t column) const {
    constexpr int most = V::lanes == 4 ? 4 : 6;
    int64_t row = 0;
    for (; row + most <= rows; row += most) block<V, most, Wide>(row, column);
    for (; row + 2 <= rows; row += 2) block<V, 2, Wide>(row, column);
    for (; row < rows; ++row) block<V, 1, Wide>(row, column);
  }
  template <class V, int Rows, int Wide>
  [[gnu::always_inline]] void block(int64_t row, int64_t column) const {
    using Register = typename V::Float;
    constexpr int64_t width = V::lanes;
    Register sum[Rows][Wide] = {};
    const float* left = a + row * a_row;
    const float* right = b + column;
    for (int64_t k = 0; k < depth; ++k, left += a_depth, right += chunk) {
      Register line[Wide];
#pragma GCC unroll 8
      for (int j = 0; j < Wide; ++j) V::template load<true>(right + j * width, 0, line[j]);
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
        for (int j = 0; j < Wide; ++j) sum[r][j] += left[r * a_row] * line[j];
    }
    float* const to = c + row * chunk + column;
    if (add) {
#pragma GCC unroll 8
      for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 8
        for (int j = 0; j < Wide; ++j) {
          Register before;
          V::template load<true>(to + r * chunk + j * width, 0, before);
          sum[r][j] += before;
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 8
      for (int j = 0; j < Wide; ++j) V::template store<true>(to + r * chunk + j * width, 0, sum[r][j]);
  }
};

#if defined(__x86_64__)
// Chosen at run time by hand: the ifuncs of target_clones run before a sanitizer is ready.
template <class Step>
[[gnu::target("avx512f,avx512vl,fma")]] void run_avx512(const Step& s) {
  s.template run<Vectors<64>>();
}
template <class Step>
[[gnu::target("avx2,fma")]] void run_avx2(const Step& s) {
  s.template run<Vectors<32>>();
}
#endif

template <class Step>
void run(const Step& s) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) return run_avx512(s);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return run_avx2(s);
#endif
  s.template run<Vectors<16>>();
}

}  // namespace sdpipe::nn::winograd
