// The transforms of winograd_steps.hpp, on vectors of neighbouring channels.
#pragma once

namespace sdpipe::nn::winograd {

// The points at which the polynomials behind the transforms are evaluated: 0, infinity, +-p and +-q. These halve the
// rounding error of Lavin and Gray's 1 and 2 (see Barabasz et al., arXiv 1803.10986); with p q = 1, factors vanish.
constexpr float p = 2.0f / 3, q = 1.5f, p2 = p * p, q2 = q * q;
constexpr float norm_p = 1 / (2 * p2 * (p2 - q2)), norm_q = 1 / (2 * q2 * (q2 - p2));

// One axis of the transforms, from and to every Step-th vector.
struct TransposedB {  // 6 to 6
  template <int Step, class V>
  [[gnu::always_inline]] static void apply(const V* d, V* out) {
    const V even_p = d[4 * Step] - q2 * d[2 * Step], odd_p = p * d[3 * Step] - q * d[Step];
    const V even_q = d[4 * Step] - p2 * d[2 * Step], odd_q = q * d[3 * Step] - p * d[Step];
    const V last = d[Step] - (p2 + q2) * d[3 * Step] + d[5 * Step];
    out[0] = d[0] - (p2 + q2) * d[2 * Step] + d[4 * Step];
    out[Step] = even_p + odd_p;
    out[2 * Step] = even_p - odd_p;
    out[3 * Step] = even_q + odd_q;
    out[4 * Step] = even_q - odd_q;
    out[5 * Step] = last;
  }
};
struct TransposedA {  // 6 to 4
  template <int Step, class V>
  [[gnu::always_inline]] static void apply(const V* m, V* out) {
    const V even_p = m[Step] + m[2 * Step], odd_p = m[Step] - m[2 * Step];
    const V even_q = m[3 * Step] + m[4 * Step], odd_q = m[3 * Step] - m[4 * Step];
    out[0] = m[0] + even_p + even_q;
    out[Step] = p * odd_p + q * odd_q;
    out[2 * Step] = p2 * even_p + q2 * even_q;
    out[3 * Step] = p2 * p * odd_p + q2 * q * odd_q + m[5 * Step];
  }
};
struct A {  // 4 to 6
  template <int Step, class V>
  [[gnu::always_inline]] static void apply(const V* y, V* out) {
    const V last = y[3 * Step];
    const V even_p = y[0] + p2 * y[2 * Step], odd_p = p * y[Step] + p2 * p * last;
    const V even_q = y[0] + q2 * y[2 * Step], odd_q = q * y[Step] + q2 * q * last;
    out[0] = y[0];
    out[Step] = even_p + odd_p;
    out[2 * Step] = even_p - odd_p;
    out[3 * Step] = even_q + odd_q;
    out[4 * Step] = even_q - odd_q;
    out[5 * Step] = last;
  }
};
struct G {  // 3 to 6
  template <int Step, class V>
  [[gnu::always_inline]] static void apply(const V* w, V* out) {
    const V even_p = norm_p * w[0] + p2 * norm_p * w[2 * Step], odd_p = p * norm_p * w[Step];
    const V even_q = norm_q * w[0] + q2 * norm_q * w[2 * Step], odd_q = q * norm_q * w[Step];
    const V last = w[2 * Step];
    out[0] = w[0];
    out[Step] = even_p + odd_p;
    out[2 * Step] = even_p - odd_p;
    out[3 * Step] = even_q + odd_q;
    out[4 * Step] = even_q - odd_q;
    out[5 * Step] = last;
  }
};
struct TransposedG {  // 6 to 3
  template <int Step, class V>
  [[gnu::always_inline]] static void apply(const V* u, V* out) {
    const V even_p = norm_p * (u[Step] + u[2 * Step]), odd_p = norm_p * (u[Step] - u[2 * Step]);
    const V even_q = norm_q * (u[3 * Step] + u[4 * Step]), odd_q = norm_q * (u[3 * Step] - u[4 * Step]);
    const V last = p2 * even_p + q2 * even_q + u[5 * Step];
    out[0] = u[0] + even_p + even_q;
    out[Step] = p * odd_p + q * odd_q;
    out[2 * Step] = last;
  }
};

// Both axes, in place: rows and columns of 6 vectors, of which the first From of each hold something before.
template <class Transform, int From, int To, class V>
[[gnu::always_inline]] inline void transform(V (&square)[36]) {
  for (int j = 0; j < From; ++j) Transform::template apply<6>(square + j, square + j);
  for (int i = 0; i < To; ++i) Transform::template apply<1>(square + 6 * i, square + 6 * i);
}

}  // namespace sdpipe::nn::winograd
