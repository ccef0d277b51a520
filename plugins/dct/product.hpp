// C = A B for small dense row-major matrices, in the widest vectors that the processor has.
//
// Written with vector types instead of left to the compiler's vectoriser: g++ 12 keeps the accumulators of the
// plain loop in memory, which costs a factor of ten. Every row of B must be padded to a multiple of 64 bytes
// (padded() below); C need not be.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace sdpipe {

// Row length of a B matrix with `columns` columns.
template <class T>
int64_t padded(int64_t columns) {
  constexpr int64_t width = 64 / sizeof(T);
  return (columns + width - 1) / width * width;
}

// Row-major matrices: C (rows x columns) = A (rows x depth) B (depth x columns), row lengths lda, ldb, ldc.
template <class T>
struct Product {
  int64_t rows, columns, depth;
  const T* a;
  int64_t lda;
  const T* b;
  int64_t ldb;
  T* c;
  int64_t ldc;
};

namespace detail {

template <class T, int Bytes>
struct Vector {
  typedef T in_register __attribute__((vector_size(Bytes)));
  typedef T in_memory __attribute__((vector_size(Bytes), aligned(sizeof(T)), may_alias));
};

// Rows x (Vectors vectors) of C at (row, column), summed over the whole depth in registers.
template <class T, int Bytes, int Rows, int Vectors>
[[gnu::always_inline]] inline void block(const Product<T>& p, int64_t row, int64_t column) {
  using Register = typename Vector<T, Bytes>::in_register;
  using Memory = typename Vector<T, Bytes>::in_memory;
  constexpr int64_t width = Bytes / sizeof(T);
  const T* a = p.a + row * p.lda;
  const T* b = p.b + column;
  Register sum[Rows][Vectors] = {};
  for (int64_t k = 0; k < p.depth; ++k) {
    Register b_row[Vectors];
    for (int j = 0; j < Vectors; ++j) b_row[j] = *reinterpret_cast<const Memory*>(b + k * p.ldb + j * width);
    for (int r = 0; r < Rows; ++r) {
      for (int j = 0; j < Vectors; ++j) sum[r][j] += a[r * p.lda + k] * b_row[j];
    }
  }
  const int64_t keep = std::min<int64_t>(width * Vectors, p.columns - column);
  for (int r = 0; r < Rows; ++r) {
    std::memcpy(p.c + (row + r) * p.ldc + column, sum[r], static_cast<size_t>(keep) * sizeof(T));
  }
}

template <class T, int Bytes, int Vectors>
[[gnu::always_inline]] inline void all_blocks(const Product<T>& p) {
  constexpr int64_t step = Bytes / sizeof(T) * Vectors;
  for (int64_t column = 0; column < p.columns; column += step) {
    int64_t row = 0;
    for (; row + 4 <= p.rows; row += 4) block<T, Bytes, 4, Vectors>(p, row, column);
    for (; row < p.rows; ++row) block<T, Bytes, 1, Vectors>(p, row, column);
  }
}

#if defined(__x86_64__)
// Chosen at run time by hand: the ifuncs of target_clones run before a sanitizer is ready.
template <class T>
[[gnu::target("avx512f,avx512vl,fma")]] void product_avx512(const Product<T>& p) {
  all_blocks<T, 64, 1>(p);
}
template <class T>
[[gnu::target("avx2,fma")]] void product_avx2(const Product<T>& p) {
  all_blocks<T, 32, 2>(p);
}
#endif

}  // namespace detail

template <class T>
void multiply(const Product<T>& p) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl")) return detail::product_avx512(p);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return detail::product_avx2(p);
#endif
  detail::all_blocks<T, 16, 2>(p);
}

}  // namespace sdpipe
