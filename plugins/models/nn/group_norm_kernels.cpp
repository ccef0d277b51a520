#include "plugins/models/nn/group_norm_kernels.hpp"

#include <algorithm>
#include <cstring>

namespace sdpipe::nn::norm {

namespace {

using bfloat16 = uint16_t;

constexpr int64_t chunk = 64;  // rows whose sums float32 holds before float64 takes them

// Written with vector types, and with vectors passed by reference: returned by value they would need the wide
// instructions in every function's interface.
template <int Bytes>
struct Vectors {
  typedef float Float __attribute__((vector_size(Bytes)));
  typedef int32_t Int __attribute__((vector_size(Bytes)));
  typedef uint32_t Bits __attribute__((vector_size(Bytes)));
  typedef bfloat16 Half __attribute__((vector_size(Bytes / 2)));
  static constexpr int64_t lanes = Bytes / 4;
};

template <int Bytes>
struct Lanes {
  using V = Vectors<Bytes>;
  using Float = typename V::Float;
  using Int = typename V::Int;
  using Bits = typename V::Bits;
  using Half = typename V::Half;

  [[gnu::always_inline]] static void load(const float* from, int64_t n, Float& to) {
    if (n == V::lanes) return void(std::memcpy(&to, from, sizeof to));
    to = Float{};
    std::memcpy(&to, from, static_cast<size_t>(n) * sizeof(float));
  }
  [[gnu::always_inline]] static void load(const bfloat16* from, int64_t n, Float& to) {
    Half half = {};
    if (n == V::lanes)
      std::memcpy(&half, from, sizeof half);
    else
      std::memcpy(&half, from, static_cast<size_t>(n) * sizeof(bfloat16));
    to = (Float)(__builtin_convertvector(half, Bits) << 16);
  }
  [[gnu::always_inline]] static void store(float* to, int64_t n, const Float& from) {
    if (n == V::lanes) return void(std::memcpy(to, &from, sizeof from));
    std::memcpy(to, &from, static_cast<size_t>(n) * sizeof(float));
  }
  // Rounds to nearest, ties to even; what is not a number stays none.
  [[gnu::always_inline]] static void store(bfloat16* to, int64_t n, const Float& from) {
    const Bits bits = (Bits)from, rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const Bits is_number = (Bits)(from == from);
    const Half half = __builtin_convertvector((rounded & is_number) | (0x7fc0 & ~is_number), Half);
    if (n == V::lanes) return void(std::memcpy(to, &half, sizeof half));
    std::memcpy(to, &half, static_cast<size_t>(n) * sizeof(bfloat16));
  }

  // 1 / (1 + exp(-v)) with exp(z) = 2^n exp(r), r = z - n ln 2 of at most ln 2 / 2, by eight terms of its series:
  // relative error 2e-7.
  [[gnu::always_inline]] static void sigmoid(const Float& v, Float& s) {
    constexpr float to_integer = 12582912;  // 1.5 * 2^23: in the sum's last bits stands n
    constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    Float z = -v;
    z = z < -87.f ? Float{} - 87.f : z;
    z = z > 87.f ? Float{} + 87.f : z;
    const Float shifted = z * 1.44269504f + to_integer, n = shifted - to_integer;
    Float r = z - n * ln2_high;
    r = r - n * ln2_low;
    Float e = r * (1 / 5040.f) + 1 / 720.f;
    e = e * r + 1 / 120.f;
    e = e * r + 1 / 24.f;
    e = e * r + 1 / 6.f;
    e = e * r + 0.5f;
    e = e * r + 1.f;
    e = e * r + 1.f;
    e = (Float)((Int)e + (Int)((Bits)shifted << 23));
    s = 1.f / (e + 1.f);
  }
};

// A rectangle of a sample: `rows` times `Width` vectors, at a distance of `stride` numbers. In the columns layout each
// lane has its own entry, else all have one. Only single vectors have fewer than all lanes.
struct Strip {
  int64_t at, rows, stride, lanes, entry;
  bool columns;
};

// Coefficients of the lanes, or the first numbers.
template <int Bytes, int Width>
struct Values {
  using L = Lanes<Bytes>;
  typename L::Float v[Width];

  [[gnu::always_inline]] Values(const float* of_entries, const Strip& s) {
    for (int i = 0; i < Width; ++i) {
      if (s.columns)
        L::load(of_entries + s.entry + i * L::V::lanes, L::V::lanes, v[i]);
      else
        v[i] = typename L::Float{} + of_entries[s.entry];
    }
  }
};

template <int Bytes, int Width>
struct Sums {
  using L = Lanes<Bytes>;
  typename L::Float v[Width] = {};

  [[gnu::always_inline]] void add_to(double* of_entries, const Strip& s) const {
    float lanes[Width * L::V::lanes];
    std::memcpy(lanes, v, sizeof lanes);
    double* const to = of_entries + s.entry;
    const int64_t n = Width == 1 ? s.lanes : Width * L::V::lanes;
    if (s.columns) {
      for (int64_t i = 0; i < n; ++i) to[i] += static_cast<double>(lanes[i]);
      return;
    }
    double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(lanes[i]);
    *to += sum;
  }
};

template <class T, bool Silu>
struct Moments {
  template <int Bytes, int Width>
  [[gnu::always_inline]] static void strip(const Job& job, int64_t sample, int64_t part, const Strip& s) {
    using L = Lanes<Bytes>;
    const T* const x = static_cast<const T*>(job.x) + sample * job.shape.size() + s.at;
    const Values<Bytes, Width> k(job.coefficient(sample, mean), s);
    Sums<Bytes, Width> sum, squares;
    for (int64_t row = 0; row < s.rows; ++row) {
      for (int i = 0; i < Width; ++i) {
        typename L::Float d;
        L::load(x + row * s.stride + i * L::V::lanes, s.lanes, d);
        d -= k.v[i];
        sum.v[i] += d;
        squares.v[i] += d * d;
      }
    }
    sum.add_to(job.sum(sample, part, first), s);
    squares.add_to(job.sum(sample, part, second), s);
  }
};

template <class T, bool Silu>
struct Forward {
  template <int Bytes, int Width>
  [[gnu::always_inline]] static void strip(const Job& job, int64_t sample, int64_t, const Strip& s) {
    using L = Lanes<Bytes>;
    const T* const x = static_cast<const T*>(job.x) + sample * job.shape.size() + s.at;
    T* const out = static_cast<T*>(job.out) + sample * job.shape.size() + s.at;
    const Values<Bytes, Width> m(job.coefficient(sample, mean), s), a(job.coefficient(sample, factor), s),
        b(job.coefficient(sample, offset), s);
    for (int64_t row = 0; row < s.rows; ++row) {
      for (int i = 0; i < Width; ++i) {
        const int64_t at = row * s.stride + i * L::V::lanes;
        typename L::Float v, g;
        L::load(x + at, s.lanes, v);
        v = (v - m.v[i]) * a.v[i] + b.v[i];
        if constexpr (Silu) {
          L::sigmoid(v, g);
          v *= g;
        }
        L::store(out + at, s.lanes, v);
      }
    }
  }
};

// dv, and x - mean in d.
template <bool Silu, class L>
[[gnu::always_inline]] inline void differentiate(typename L::Float& d, typename L::Float& dv,
                                                 const typename L::Float& m, const typename L::Float& a,
                                                 const typename L::Float& b) {
  d -= m;
  if constexpr (Silu) {
    const typename L::Float v = d * a + b;
    typename L::Float g;
    L::sigmoid(v, g);
    dv *= g + g * v * (1.f - g);
  }
}

template <class T, bool Silu>
struct BackwardSums {
  template <int Bytes, int Width>
  [[gnu::always_inline]] static void strip(const Job& job, int64_t sample, int64_t part, const Strip& s) {
    using L = Lanes<Bytes>;
    const T* const x = static_cast<const T*>(job.x) + sample * job.shape.size() + s.at;
    const T* const dy = static_cast<const T*>(job.dy) + sample * job.shape.size() + s.at;
    const Values<Bytes, Width> m(job.coefficient(sample, mean), s), a(job.coefficient(sample, factor), s),
        b(job.coefficient(sample, offset), s);
    Sums<Bytes, Width> of_dv, of_product, of_d;
    for (int64_t row = 0; row < s.rows; ++row) {
      for (int i = 0; i < Width; ++i) {
        const int64_t at = row * s.stride + i * L::V::lanes;
        typename L::Float d, dv;
        L::load(x + at, s.lanes, d);
        L::load(dy + at, s.lanes, dv);
        differentiate<Silu, L>(d, dv, m.v[i], a.v[i], b.v[i]);
        of_dv.v[i] += dv;
        of_product.v[i] += dv * d;
        of_d.v[i] += d;
      }
    }
    of_dv.add_to(job.sum(sample, part, first), s);
    of_product.add_to(job.sum(sample, part, second), s);
    of_d.add_to(job.sum(sample, part, third), s);
  }
};

template <class T, bool Silu>
struct Backward {
  template <int Bytes, int Width>
  [[gnu::always_inline]] static void strip(const Job& job, int64_t sample, int64_t, const Strip& s) {
    using L = Lanes<Bytes>;
    const T* const x = static_cast<const T*>(job.x) + sample * job.shape.size() + s.at;
    const T* const dy = static_cast<const T*>(job.dy) + sample * job.shape.size() + s.at;
    T* const out = static_cast<T*>(job.out) + sample * job.shape.size() + s.at;
    const Values<Bytes, Width> m(job.coefficient(sample, mean), s), a(job.coefficient(sample, factor), s),
        b(job.coefficient(sample, offset), s), c(job.coefficient(sample, slope), s),
        k(job.coefficient(sample, constant), s);
    for (int64_t row = 0; row < s.rows; ++row) {
      for (int i = 0; i < Width; ++i) {
        const int64_t at = row * s.stride + i * L::V::lanes;
        typename L::Float d, dv;
        L::load(x + at, s.lanes, d);
        L::load(dy + at, s.lanes, dv);
        differentiate<Silu, L>(d, dv, m.v[i], a.v[i], b.v[i]);
        L::store(out + at, s.lanes, dv * a.v[i] + (d * c.v[i] + k.v[i]));
      }
    }
  }
};

template <class Kernel, int Bytes>
[[gnu::always_inline]] inline void columns(const Job& job, int64_t sample, int64_t part) {
  constexpr int64_t lanes = Vectors<Bytes>::lanes;
  const int64_t n = job.shape.entries;
  const int64_t begin = job.shape.count * part / job.shape.parts, end = job.shape.count * (part + 1) / job.shape.parts;
  for (int64_t row = begin; row < end; row += chunk) {
    Strip s{row * n, std::min(chunk, end - row), n, lanes, 0, true};
    const auto next = [](Strip& strip, int64_t width) {
      strip.at += width;
      strip.entry += width;
    };
    for (; s.entry + 2 * lanes <= n; next(s, 2 * lanes)) Kernel::template strip<Bytes, 2>(job, sample, part, s);
    for (; s.entry < n; next(s, lanes)) {
      s.lanes = std::min(lanes, n - s.entry);
      Kernel::template strip<Bytes, 1>(job, sample, part, s);
    }
  }
}

template <class Kernel, int Bytes>
[[gnu::always_inline]] inline void rows(const Job& job, int64_t sample, int64_t part) {
  constexpr int64_t lanes = Vectors<Bytes>::lanes;
  const int64_t n = job.shape.count;
  const int64_t begin = job.shape.entries * part / job.shape.parts;
  const int64_t end = job.shape.entries * (part + 1) / job.shape.parts;
  for (int64_t entry = begin; entry < end; ++entry) {
    int64_t i = 0;
    while (i + 2 * lanes <= n) {
      const int64_t pairs = std::min(chunk, (n - i) / (2 * lanes));
      Kernel::template strip<Bytes, 2>(job, sample, part, {entry * n + i, pairs, 2 * lanes, lanes, entry, false});
      i += pairs * 2 * lanes;
    }
    for (; i < n; i += lanes)
      Kernel::template strip<Bytes, 1>(job, sample, part, {entry * n + i, 1, 0, std::min(lanes, n - i), entry, false});
  }
}

template <class Kernel, int Bytes>
[[gnu::always_inline]] inline void run(const Job& job, int64_t sample, int64_t part) {
  if (job.shape.columns)
    columns<Kernel, Bytes>(job, sample, part);
  else
    rows<Kernel, Bytes>(job, sample, part);
}

template <class Kernel>
void plain(const Job& job, int64_t sample, int64_t part) {
  run<Kernel, 16>(job, sample, part);
}
#if defined(__x86_64__)
// Chosen at run time by hand: the ifuncs of target_clones run before a sanitizer is ready.
template <class Kernel>
[[gnu::target("avx512f,avx512vl,avx512bw,avx512dq,fma")]] void avx512(const Job& job, int64_t sample, int64_t part) {
  run<Kernel, 64>(job, sample, part);
}
template <class Kernel>
[[gnu::target("avx2,fma")]] void avx2(const Job& job, int64_t sample, int64_t part) {
  run<Kernel, 32>(job, sample, part);
}
#endif

template <class Kernel>
Pass best() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq"))
    return avx512<Kernel>;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2<Kernel>;
#endif
  return plain<Kernel>;
}

template <class T, bool Silu>
const Passes& passes_of() {
  static const Passes all{best<Moments<T, false>>(), best<Forward<T, Silu>>(), best<BackwardSums<T, Silu>>(),
                          best<Backward<T, Silu>>()};
  return all;
}

}  // namespace

const Passes& passes(bool bfloat16_numbers, bool silu) {
  if (bfloat16_numbers) return silu ? passes_of<bfloat16, true>() : passes_of<bfloat16, false>();
  return silu ? passes_of<float, true>() : passes_of<float, false>();
}

}  // namespace sdpipe::nn::norm
