#include "core/base/random.hpp"

namespace sdpipe {
namespace {

template <class Numbers, class T>
void fill(const Stream& stream, std::span<T> out) {
  const size_t blocks = (out.size() + 3) / 4;
  for (size_t b = 0; b < blocks; ++b) fill_block<Numbers>(stream, static_cast<uint32_t>(b), out.data(), out.size());
}

}  // namespace

uint64_t random_bits(const Stream& stream) {
  const Words w = stream.words(0);
  return uint64_t{w[1]} << 32 | w[0];
}

double random_uniform(const Stream& stream) { return to_uniform(stream.words(0)[0]); }

template <class T>
void fill_uniform(const Stream& stream, std::span<T> out) {
  fill<UniformNumbers>(stream, out);
}

template <class T>
void fill_normal(const Stream& stream, std::span<T> out) {
  fill<NormalNumbers>(stream, out);
}

template void fill_uniform<float>(const Stream&, std::span<float>);
template void fill_uniform<double>(const Stream&, std::span<double>);
template void fill_normal<float>(const Stream&, std::span<float>);
template void fill_normal<double>(const Stream&, std::span<double>);

}  // namespace sdpipe
