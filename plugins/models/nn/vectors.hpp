// Vectors of float32 for kernels that are written once for every width, from and to memory that holds float32 or
// bfloat16. By reference: returned by value they would need the wide instructions in every function's interface.
#pragma once

#include <cstdint>
#include <cstring>

namespace sdpipe::nn {

using Bfloat16 = uint16_t;  // the upper half of a float32

// Apart, for g++ does not see through a vector type in the template that defines it.
template <int Bytes>
struct VectorTypes {
  typedef float Float __attribute__((vector_size(Bytes)));
  typedef uint32_t Bits __attribute__((vector_size(Bytes)));
  typedef Bfloat16 Half __attribute__((vector_size(Bytes / 2)));
};

template <int Bytes>
struct Vectors {
  using Float = typename VectorTypes<Bytes>::Float;
  using Bits = typename VectorTypes<Bytes>::Bits;
  using Half = typename VectorTypes<Bytes>::Half;
  static constexpr int64_t lanes = Bytes / 4;

  // The first n numbers, of which memory holds no more; all lanes with Full. Apart, for what stands in memory for a
  // part of a vector is never in registers.
  template <bool Full>
  [[gnu::always_inline]] static void load(const float* from, int64_t n, Float& to) {
    if constexpr (Full) return void(std::memcpy(&to, from, sizeof to));
    to = Float{};
    std::memcpy(&to, from, static_cast<size_t>(n) * sizeof(float));
  }
  template <bool Full>
  [[gnu::always_inline]] static void load(const Bfloat16* from, int64_t n, Float& to) {
    Half half = {};
    std::memcpy(&half, from, Full ? sizeof half : static_cast<size_t>(n) * sizeof(Bfloat16));
    to = (Float)(__builtin_convertvector(half, Bits) << 16);
  }
  template <bool Full>
  [[gnu::always_inline]] static void store(float* to, int64_t n, const Float& from) {
    std::memcpy(to, &from, Full ? sizeof from : static_cast<size_t>(n) * sizeof(float));
  }
  // Rounds to nearest, ties to even; what is not a number stays none.
  template <bool Full>
  [[gnu::always_inline]] static void store(Bfloat16* to, int64_t n, const Float& from) {
    const Bits bits = (Bits)from, rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const Bits is_number = (Bits)(from == from);
    const Half half = __builtin_convertvector((rounded & is_number) | (0x7fc0 & ~is_number), Half);
    std::memcpy(to, &half, Full ? sizeof half : static_cast<size_t>(n) * sizeof(Bfloat16));
  }
};

}  // namespace sdpipe::nn
