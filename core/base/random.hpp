// Counter-based random numbers. A value depends only on (seed, purpose, sample, step, draw, element): there is no
// generator state to save, and neither batch split nor thread count changes a number. The cipher and what makes
// numbers of its words are in philox.hpp.
#pragma once

#include <cstdint>
#include <span>

#include "core/base/philox.hpp"

namespace sdpipe {

// 64 bits, the first two words of a stream.
uint64_t random_bits(const Stream& stream);
// One number in [0, 1): the top 24 bits of a word.
double random_uniform(const Stream& stream);

// out[i] is element i of the stream, uniform in [0, 1).
template <class T>
void fill_uniform(const Stream& stream, std::span<T> out);

// out[i] is element i of the stream, standard normal: Box-Muller on consecutive word pairs in double, then rounded.
template <class T>
void fill_normal(const Stream& stream, std::span<T> out);

}  // namespace sdpipe
