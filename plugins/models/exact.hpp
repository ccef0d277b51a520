// Shared by the exactly known denoisers: tensors as float64, and which samples of a batch have the same operator.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "core/abi/plugin.hpp"

namespace sdpipe {

// `count` elements of a float32 or float64 tensor from element `first` on.
inline std::vector<double> read(const sdp_tensor& t, int64_t first, int64_t count) {
  if (t.dtype_code != 2 || (t.dtype_bits != 32 && t.dtype_bits != 64)) {
    throw sdp::Failure(SDP_E_UNSUPPORTED, {}, "takes float32 and float64 tensors only");
  }
  std::vector<double> out(static_cast<size_t>(count));
  sdp::dispatch(t, [&](auto zero) {
    const auto* data = static_cast<const decltype(zero)*>(t.data) + first;
    out.assign(data, data + count);
  });
  return out;
}
inline std::vector<double> read(const sdp_tensor& t) { return read(t, 0, sdp::numel(t)); }

inline void write(const std::vector<double>& values, sdp_tensor& t, int64_t first = 0) {
  sdp::dispatch(t, [&](auto zero) {
    using T = decltype(zero);
    T* data = static_cast<T*>(t.data) + first;
    for (size_t i = 0; i < values.size(); ++i) data[i] = static_cast<T>(values[i]);
  });
}

// Number i of a fixed sequence without structure, of size 1 to 2 and either sign: two linear operators that treat it
// alike are taken for equal.
inline double probe(uint64_t i) {
  uint64_t z = (i + 1) * 0x9E3779B97F4A7C15u;  // the mixing function of SplitMix64
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  const double size = 1.0 + static_cast<double>(z >> 40) * 0x1p-24;
  return z & 1 ? size : -size;
}

// Sample b of `at`, n times.
inline sdp::OwnedPoint repeat(const sdp::Point& at, int64_t b, int64_t n) {
  const size_t count = static_cast<size_t>(n);
  sdp::OwnedPoint p;
  p.t.assign(count, at.t[b]);
  p.level.assign(count, at.level[b]);
  p.sigma.assign(count, at.sigma[b]);
  p.key.assign(count, at.key[b]);
  return p;
}

// The samples of a batch, sorted by operator: those with equal levels, and with keys that make no difference to a
// probe. Most operators ignore their key, and a trajectory has one level for the whole batch: one group then.
inline std::vector<std::vector<int64_t>> samples_by_operator(const sdp::Call& call, const sdp::Point& at,
                                                             const sdp_tensor* x) {
  sdp_tensor* in = call.scratch(x);
  sdp_tensor* out = call.scratch(x);
  const int64_t size = sdp::Batch<const char>(x).stride();
  std::vector<double> same(static_cast<size_t>(size));
  for (int64_t i = 0; i < size; ++i) same[static_cast<size_t>(i)] = probe(static_cast<uint64_t>(i));
  for (int64_t b = 0; b < x->shape[0]; ++b) write(same, *in, b * size);
  call.corrupt(at, in, out);
  const auto bytes = static_cast<size_t>(size * x->dtype_bits / 8);
  const auto answer = [&](int64_t b) { return static_cast<const char*>(out->data) + static_cast<size_t>(b) * bytes; };

  std::vector<std::vector<int64_t>> groups;
  for (int64_t b = 0; b < x->shape[0]; ++b) {
    auto group = groups.begin();
    for (; group != groups.end(); ++group) {
      const int64_t first = group->front();
      if (at.level[first] == at.level[b] && std::memcmp(answer(first), answer(b), bytes) == 0) break;
    }
    if (group == groups.end()) group = groups.insert(group, std::vector<int64_t>());
    group->push_back(b);
  }
  return groups;
}

// Refuses gradients with respect to parameters, which are estimated and never trained.
inline void refuse_parameter_gradients(const sdp::Call& call, const sdp_params& params, sdp_tensor* const* gparams) {
  for (uint32_t i = 0; gparams && i < params.n; ++i) {
    if (gparams[i]) call.fail("is fitted, never trained: it has no parameter gradients", {}, SDP_E_UNSUPPORTED);
  }
}

}  // namespace sdpipe
