// Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). A value depends only on (seed, purpose, sample, step, draw, element): there is no generator
// state to save, and neither batch split nor thread count changes a number.
//
//   key     = seed (low word, high word)
//   counter = (element / 4, step, low 32 bits of sample, purpose (4 bits) | draw (12) | high bits of sample (16))
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace sdpipe {

using Words = std::array<uint32_t, 4>;

// The block cipher itself: four 32-bit words out of a counter and a key.
Words philox4x32_10(Words counter, std::array<uint32_t, 2> key);

// What a number is drawn for; part of the counter, so that no two uses share numbers.
enum class Purpose : uint32_t {
  corruption = 0,    // inside apply and adjoint: seed = key[b], sample = step = 0
  init = 1,          // sample = index of the parameter
  train_time = 2,    // sample = images seen, step = optimiser step
  train_noise = 3,
  model = 4,         // dropout and the like, inside a network's forward
  order = 5,         // sample = position in the epoch, step = epoch
  augment = 6,       // sample = images seen
  key = 7,           // sample = image index: the key of its corruption
  sampler = 8,       // sample = image index, step = node
  prior = 9,         // sample = image index
  calibration = 10,  // which images a schedule or a fit sees
  test = 15,
};

// One stream of numbers: everything but the element.
struct Stream {
  uint64_t seed = 0;
  Purpose purpose = Purpose::test;
  uint64_t sample = 0;  // 48 bits are used
  uint32_t step = 0;
  uint32_t draw = 0;    // 12 bits are used

  Words words(uint32_t block) const;
};

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
