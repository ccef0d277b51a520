// Counter-based random numbers, the part that the CPU and CUDA kernels share: C++17, so that both compilers read it.
// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//
//   key     = seed (low word, high word)
//   counter = (element / 4, step, low 32 bits of sample, purpose (4 bits) | draw (12) | high bits of sample (16))
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "core/abi/host_device.h"

namespace sdpipe {

// Four 32-bit words; not std::array, whose members are not for a GPU.
struct Words {
  uint32_t word[4];

  SDP_HOST_DEVICE constexpr uint32_t operator[](size_t i) const { return word[i]; }
  const uint32_t* begin() const { return word; }
  const uint32_t* end() const { return word + 4; }
};

inline bool operator==(const Words& a, const Words& b) {
  return a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3];
}
inline bool operator!=(const Words& a, const Words& b) { return !(a == b); }

struct PhiloxKey {
  uint32_t low, high;
};

// The block cipher itself: four words out of a counter and a key.
SDP_HOST_DEVICE inline Words philox4x32_10(Words c, PhiloxKey k) {
  constexpr uint32_t multiplier0 = 0xD2511F53, multiplier1 = 0xCD9E8D57;  // the paper's constants
  constexpr uint32_t weyl0 = 0x9E3779B9, weyl1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{multiplier0} * c[0];
    const uint64_t p1 = uint64_t{multiplier1} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k.low, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k.high, static_cast<uint32_t>(p0)};
    k.low += weyl0;
    k.high += weyl1;
  }
  return c;
}

// What a number is drawn for; part of the counter, so that no two uses share numbers.
enum class Purpose : uint32_t {
  corruption = 0,  // inside apply and adjoint: seed = key[b], sample = step = 0
  init = 1,        // sample = index of the parameter
  train_time = 2,  // sample = images seen, step = optimiser step
  train_noise = 3,
  model = 4,         // dropout and the like, inside a network's forward
  order = 5,         // sample = position in the epoch, step = epoch
  augment = 6,       // sample = images seen
  key = 7,           // sample = image index: the key of its corruption
  sampler = 8,       // sample = image index, step = node
  prior = 9,         // sample = image index
  calibration = 10,  // which images a schedule or a fit sees
  restoration = 11,  // sample = image index: noise of an observation, and what a start lacks of it
  evaluation = 12,   // the feature network and directions of the scores
  test = 15,
};

// One stream of numbers: everything but the element.
struct Stream {
  uint64_t seed = 0;
  Purpose purpose = Purpose::test;
  uint64_t sample = 0;  // 48 bits are used
  uint32_t step = 0;
  uint32_t draw = 0;  // 12 bits are used

  SDP_HOST_DEVICE Words words(uint32_t block) const {
    const uint32_t last =
        static_cast<uint32_t>(purpose) | (draw & 0xFFFu) << 4 | static_cast<uint32_t>(sample >> 32 & 0xFFFFu) << 16;
    return philox4x32_10({block, step, static_cast<uint32_t>(sample), last},
                         {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
  }
};

// In [0, 1): the top 24 bits, which float holds exactly.
SDP_HOST_DEVICE inline double to_uniform(uint32_t word) { return (word >> 8) * 0x1p-24; }

// Four numbers, elements 4 * block to 4 * block + 3 of a stream.
struct Four {
  double value[4];
};

struct UniformNumbers {
  SDP_HOST_DEVICE Four operator()(const Words& w) const {
    return {{to_uniform(w[0]), to_uniform(w[1]), to_uniform(w[2]), to_uniform(w[3])}};
  }
};

// Box-Muller on consecutive words, in double.
struct NormalNumbers {
  SDP_HOST_DEVICE Four operator()(const Words& w) const {
    Four z;
    pair(w[0], w[1], z.value);
    pair(w[2], w[3], z.value + 2);
    return z;
  }

 private:
  // u is in (0, 1], so the logarithm is finite.
  SDP_HOST_DEVICE static void pair(uint32_t a, uint32_t b, double* z) {
    constexpr double pi = 3.14159265358979323846;
    const double u = (a + 1.0) * 0x1p-32;
    const double angle = 2 * pi * (b * 0x1p-32);
    const double r = std::sqrt(-2 * std::log(u));
    z[0] = r * std::cos(angle);
    z[1] = r * std::sin(angle);
  }
};

// Writes one block of a row of `length` numbers, as much of it as the row holds.
template <class Numbers, class T>
SDP_HOST_DEVICE inline void fill_block(const Stream& stream, uint32_t block, T* row, size_t length) {
  const Four four = Numbers()(stream.words(block));
  const size_t first = size_t{4} * block;
  for (size_t i = 0; i < 4 && first + i < length; ++i) row[first + i] = static_cast<T>(four.value[i]);
}

}  // namespace sdpipe
