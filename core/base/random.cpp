#include "core/base/random.hpp"

#include <cmath>
#include <numbers>

namespace sdpipe {

Words philox4x32_10(Words c, std::array<uint32_t, 2> k) {
  constexpr uint32_t multiplier0 = 0xD2511F53, multiplier1 = 0xCD9E8D57;  // the paper's constants
  constexpr uint32_t weyl0 = 0x9E3779B9, weyl1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{multiplier0} * c[0];
    const uint64_t p1 = uint64_t{multiplier1} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(p0)};
    k[0] += weyl0;
    k[1] += weyl1;
  }
  return c;
}

Words Stream::words(uint32_t block) const {
  const uint32_t last = static_cast<uint32_t>(purpose) | (draw & 0xFFFu) << 4 |
                        static_cast<uint32_t>(sample >> 32 & 0xFFFFu) << 16;
  return philox4x32_10({block, step, static_cast<uint32_t>(sample), last},
                       {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
}

namespace {

double to_uniform(uint32_t word) { return (word >> 8) * 0x1p-24; }

// Two standard normals from two words. u is in (0, 1], so the logarithm is finite.
std::array<double, 2> box_muller(uint32_t a, uint32_t b) {
  const double u = (a + 1.0) * 0x1p-32;
  const double angle = 2 * std::numbers::pi * (b * 0x1p-32);
  const double r = std::sqrt(-2 * std::log(u));
  return {r * std::cos(angle), r * std::sin(angle)};
}

// Calls four(words) for every block of four and copies what fits.
template <class T, class F>
void fill_blocks(const Stream& stream, std::span<T> out, F four) {
  for (size_t first = 0; first < out.size(); first += 4) {
    const std::array<double, 4> values = four(stream.words(static_cast<uint32_t>(first / 4)));
    for (size_t i = first; i < out.size() && i < first + 4; ++i) out[i] = static_cast<T>(values[i - first]);
  }
}

}  // namespace

uint64_t random_bits(const Stream& stream) {
  const Words w = stream.words(0);
  return uint64_t{w[1]} << 32 | w[0];
}

double random_uniform(const Stream& stream) { return to_uniform(stream.words(0)[0]); }

template <class T>
void fill_uniform(const Stream& stream, std::span<T> out) {
  fill_blocks(stream, out, [](const Words& w) -> std::array<double, 4> {
    return {to_uniform(w[0]), to_uniform(w[1]), to_uniform(w[2]), to_uniform(w[3])};
  });
}

template <class T>
void fill_normal(const Stream& stream, std::span<T> out) {
  fill_blocks(stream, out, [](const Words& w) -> std::array<double, 4> {
    const auto [a, b] = box_muller(w[0], w[1]);
    const auto [c, d] = box_muller(w[2], w[3]);
    return {a, b, c, d};
  });
}

template void fill_uniform<float>(const Stream&, std::span<float>);
template void fill_uniform<double>(const Stream&, std::span<double>);
template void fill_normal<float>(const Stream&, std::span<float>);
template void fill_normal<double>(const Stream&, std::span<double>);

}  // namespace sdpipe
