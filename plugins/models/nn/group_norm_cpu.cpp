#include "plugins/models/nn/group_norm_cpu.hpp"

#include <algorithm>
#include <cstring>

#include "plugins/models/nn/vectors.hpp"

namespace sdpipe::nn::norm {

namespace {

template <int Bytes>
struct Lanes : Vectors<Bytes> {
  using V = Vectors<Bytes>;
  using Float = typename V::Float;
  using Bits = typename V::Bits;

  // Zero in the lanes from n on.
  [[gnu::always_inline]] static void clear_behind(int64_t n, Float& v) {
    Float kept = {};
    std::memcpy(&kept, &v, static_cast<size_t>(n) * sizeof(float));
    v = kept;
  }

  // e = exp(-v) = 2^t, t = -v / ln 2, as 2^n 2^r with n the whole number next to t and 2^r by the polynomial of least
  // relative error, 8e-8, found by Remez' algorithm. t is kept from -125, where e + 1 is 1, to 128, where e is
  // infinite: of a huge product r would be the rounding error.
  [[gnu::always_inline]] static void exp_of_minus(const Float& v, Float& e) {
    constexpr float log2_e = 1.44269504f;
    constexpr float to_whole = 12582912;  // 1.5 * 2^23: the last bits of the sum are n
    Float t = v * -log2_e;
    t = t < -125.f ? Float{} - 125.f : t;
    t = t > 128.f ? Float{} + 128.f : t;
    const Float sum = t + to_whole, r = t - (sum - to_whole);
    Float p = r * 1.3276472e-3f + 9.6755413e-3f;
    p = p * r + 5.5507133e-2f;
    p = p * r + 0.24022120f;
    p = p * r + 0.69314697f;
    p = p * r + 1.f;
    e = (Float)((Bits)p + ((Bits)sum << 23));  // the rest of to_whole's bits is shifted out
  }
};

// A rectangle of a sample: `rows` times Width vectors, at a distance of `stride` numbers. In the columns layout each
// lane has its own entry, else all have one. Only single vectors have fewer than all lanes.
struct Strip {
  int64_t at, rows, stride, lanes, entry;
  bool columns;
};

// Coefficients of the lanes.
template <int Bytes, int Width>
struct Values {
  using L = Lanes<Bytes>;
  typename L::Float v[Width];

  [[gnu::always_inline]] Values(const float* of_entries, const Strip& s) {
    for (int i = 0; i < Width; ++i) {
      if (s.columns)
        L::template load<true>(of_entries + s.entry + i * L::V::lanes, 0, v[i]);
      else
        v[i] = typename L::Float{} + of_entries[s.entry];
    }
  }
};

// Sums of a strip, which float32 holds until float64 takes them.
template <int Bytes, int Width>
struct Sums {
  using L = Lanes<Bytes>;
  typename L::Float v[Width] = {};

  [[gnu::always_inline]] void add_to(double* of_entries, const Strip& s) const {
    float lanes[Width * L::V::lanes];
    std::memcpy(lanes, v, sizeof lanes);
    double* const to = of_entries + s.entry;
    if (s.columns) {
      for (int64_t i = 0; i < Width * L::V::lanes; ++i) to[i] += static_cast<double>(lanes[i]);
      return;
    }
    double sum = 0;
    for (int64_t i = 0; i < Width * L::V::lanes; ++i) sum += static_cast<double>(lanes[i]);
    *to += sum;
  }
};

template <class T, bool Silu>
struct Moments {
  static constexpr int64_t rows = 16;

  template <int Bytes, int Width, bool Full>
  [[gnu::always_inline]] static void strip(const Job& job, int64_t sample, int64_t part, const Strip& s) {
    using L = Lanes<Bytes>;
    const T* const x = static_cast<const T*>(job.x) + sample * job.shape.size() + s.at;
    const Values<Bytes, Width> k(job.coefficient(sample, mean), s);
    Sums<Bytes, Width> sum, squares;
    for (int64_t row = 0; row < s.rows; ++row) {
      for (int i = 0; i < Width; ++i) {
        typename L::Float d;
        const int64_t at = row * s.stride + i * L::V::lanes;
        __builtin_prefetch(x + at + rows * s.stride);
        L::template load<Full>(x + at, s.lanes, d);
        d -= k.v[i];
        if constexpr (!Full) L::clear_behind(s.lanes, d);
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
  static constexpr int64_t rows = 1;

  template <int Bytes, int Width, bool Full>
  [[gnu::always_inline]] static void strip(const Job& job, int64_t sample, int64_t, const Strip& s) {
    using L = Lanes<Bytes>;
    const T* const x = static_cast<const T*>(job.x) + sample * job.shape.size() + s.at;
    T* const out = static_cast<T*>(job.out) + sample * job.shape.size() + s.at;
    const Values<Bytes, Width> m(job.coefficient(sample, mean), s), a(job.coefficient(sample, factor), s),
        b(job.coefficient(sample, offset), s);
    for (int64_t row = 0; row < s.rows; ++row) {
      for (int i = 0; i < Width; ++i) {
        const int64_t at = row * s.stride + i * L::V::lanes;
        typename L::Float v, e;
        L::template load<Full>(x + at, s.lanes, v);
        v = (v - m.v[i]) * a.v[i] + b.v[i];
        if constexpr (Silu) {
          L::exp_of_minus(v, e);
          v /= e + 1.f;
        }
        L::template store<Full>(out + at, s.lanes, v);
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
    typename L::Float e;
    L::exp_of_minus(v, e);
    const typename L::Float g = 1.f / (e + 1.f), y = v * g;
    dv *= g + (y - y * g);
  }
}

// float32 keeps dv in `out`, for Backward to take; bfloat16 would round it there.
template <class T, bool Silu>
constexpr bool keeps_dv = Silu && sizeof(T) == sizeof(float);

template <class T, bool Silu>
struct BackwardSums {
  static constexpr int64_t rows = 16;

  template <int Bytes, int Width, bool Full>
  [[gnu::always_inline]] static void strip(const Job& job, int64_t sample, int64_t part, const Strip& s) {
    using L = Lanes<Bytes>;
    const T* const x = static_cast<const T*>(job.x) + sample * job.shape.size() + s.at;
    const T* const dy = static_cast<const T*>(job.dy) + sample * job.shape.size() + s.at;
    T* const out = static_cast<T*>(job.out) + sample * job.shape.size() + s.at;
    const Values<Bytes, Width> m(job.coefficient(sample, mean), s), a(job.coefficient(sample, factor), s),
        b(job.coefficient(sample, offset), s);
    Sums<Bytes, Width> of_dv, of_product, of_d;
    for (int64_t row = 0; row < s.rows; ++row) {
      for (int i = 0; i < Width; ++i) {
        const int64_t at = row * s.stride + i * L::V::lanes;
        typename L::Float d, dv;
        __builtin_prefetch(x + at + rows * s.stride);
        __builtin_prefetch(dy + at + rows * s.stride);
        L::template load<Full>(x + at, s.lanes, d);
        L::template load<Full>(dy + at, s.lanes, dv);
        differentiate<Silu, L>(d, dv, m.v[i], a.v[i], b.v[i]);
        if constexpr (!Full) L::clear_behind(s.lanes, d);
        of_dv.v[i] += dv;
        of_product.v[i] += dv * d;
        of_d.v[i] += d;
        if constexpr (keeps_dv<T, Silu>) L::template store<Full>(out + at, s.lanes, dv);
      }
    }
    of_dv.add_to(job.sum(sample, part, first), s);
    of_product.add_to(job.sum(sample, part, second), s);
    of_d.add_to(job.sum(sample, part, third), s);
  }
};

template <class T, bool Silu>
struct Backward {
  static constexpr int64_t rows = 1;

  template <int Bytes, int Width, bool Full>
  [[gnu::always_inline]] static void strip(const Job& job, int64_t sample, int64_t, const Strip& s) {
    using L = Lanes<Bytes>;
    constexpr bool kept = keeps_dv<T, Silu>;
    const T* const x = static_cast<const T*>(job.x) + sample * job.shape.size() + s.at;
    const T* const dy = static_cast<const T*>(kept ? job.out : job.dy) + sample * job.shape.size() + s.at;
    T* const out = static_cast<T*>(job.out) + sample * job.shape.size() + s.at;
    const Values<Bytes, Width> m(job.coefficient(sample, mean), s), a(job.coefficient(sample, factor), s),
        b(job.coefficient(sample, offset), s), c(job.coefficient(sample, slope), s),
        k(job.coefficient(sample, constant), s);
    for (int64_t row = 0; row < s.rows; ++row) {
      for (int i = 0; i < Width; ++i) {
        const int64_t at = row * s.stride + i * L::V::lanes;
        typename L::Float d, dv;
        L::template load<Full>(x + at, s.lanes, d);
        L::template load<Full>(dy + at, s.lanes, dv);
        differentiate<Silu && !kept, L>(d, dv, m.v[i], a.v[i], b.v[i]);
        L::template store<Full>(out + at, s.lanes, dv * a.v[i] + (d * c.v[i] + k.v[i]));
      }
    }
  }
};

// As many rows at once as a kernel wants: those of sums keep their sums in registers meanwhile, and ask for the memory
// of the rows behind them, which no processor guesses; the others read memory in its order.
template <class Kernel, int Bytes>
[[gnu::always_inline]] inline void columns(const Job& job, int64_t sample, int64_t part) {
  constexpr int64_t lanes = Vectors<Bytes>::lanes;
  const int64_t n = job.shape.entries;
  const int64_t begin = job.shape.count * part / job.shape.parts, end = job.shape.count * (part + 1) / job.shape.parts;
  for (int64_t row = begin; row < end; row += Kernel::rows) {
    Strip s{row * n, std::min(Kernel::rows, end - row), n, lanes, 0, true};
    for (; s.entry + 2 * lanes <= n; s.entry += 2 * lanes, s.at += 2 * lanes)
      Kernel::template strip<Bytes, 2, true>(job, sample, part, s);
    for (; s.entry + lanes <= n; s.entry += lanes, s.at += lanes)
      Kernel::template strip<Bytes, 1, true>(job, sample, part, s);
    s.lanes = n - s.entry;
    if (s.lanes > 0) Kernel::template strip<Bytes, 1, false>(job, sample, part, s);
  }
}

template <class Kernel, int Bytes>
[[gnu::always_inline]] inline void rows(const Job& job, int64_t sample, int64_t part) {
  constexpr int64_t lanes = Vectors<Bytes>::lanes, most = 64;  // rows of a strip
  const int64_t n = job.shape.count, pairs = n / (2 * lanes);
  const int64_t begin = job.shape.entries * part / job.shape.parts;
  const int64_t end = job.shape.entries * (part + 1) / job.shape.parts;
  for (int64_t entry = begin; entry < end; ++entry) {
    Strip s{entry * n, 0, 2 * lanes, lanes, entry, false};
    for (int64_t pair = 0; pair < pairs; pair += most, s.at += s.rows * s.stride) {
      s.rows = std::min(most, pairs - pair);
      Kernel::template strip<Bytes, 2, true>(job, sample, part, s);
    }
    const int64_t behind = (entry + 1) * n;
    s.rows = 1;
    for (; s.at + lanes <= behind; s.at += lanes) Kernel::template strip<Bytes, 1, true>(job, sample, part, s);
    s.lanes = behind - s.at;
    if (s.lanes > 0) Kernel::template strip<Bytes, 1, false>(job, sample, part, s);
  }
}

template <class Kernel, int Bytes>
[[gnu::always_inline]] inline void run(const Job& shared, int64_t sample, int64_t part) {
  const Job job = shared;  // of which the compiler knows that no store to `out` changes it
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
  if (bfloat16_numbers) return silu ? passes_of<Bfloat16, true>() : passes_of<Bfloat16, false>();
  return silu ? passes_of<float, true>() : passes_of<float, false>();
}

}  // namespace sdpipe::nn::norm
