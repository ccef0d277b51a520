// The passes over memory of group_norm.cpp, in the widest vectors that the processor has; all arithmetic in float32.
//
// A sample is a matrix of numbers that belong to `entries`, each with a mean, a factor and an offset of its own: the
// columns where channels stand last (two pixels of 8 channels are one row of 16 entries), the rows where pixels do.
//
//   v = (x - mean) factor + offset      y = v or silu(v) = v s, s = 1 / (1 + exp(-v))
//   dv = dy or dy s (1 + v (1 - s))     dx = dv factor + (x - mean) slope + constant
#pragma once

#include <cstdint>

namespace sdpipe::nn::norm {

struct Shape {
  int64_t entries, count;  // of one sample; each entry has `count` numbers
  bool columns;            // entries are columns of a row-major matrix, else rows
  int64_t parts;           // the pieces that one sample's work is cut into, whatever the number of threads

  int64_t size() const { return entries * count; }
  int64_t stride() const { return (entries + 15) / 16 * 16; }  // of arrays with one number for each entry
};

enum Coefficient { mean, factor, offset, slope, constant, n_coefficients };
enum Sum { first, second, third, n_sums };

// Pointers to the first sample. Numbers are float32 or, in the passes for it, bfloat16.
struct Job {
  Shape shape;
  const void* x;
  const void* dy;
  void* out;
  float* coefficients;  // (sample, coefficient, entry)
  double* sums;         // (sample, part, sum, entry); passes add to them

  float* coefficient(int64_t sample, Coefficient c) const {
    return coefficients + (sample * n_coefficients + c) * shape.stride();
  }
  double* sum(int64_t sample, int64_t part, Sum s) const {
    return sums + ((sample * shape.parts + part) * n_sums + s) * shape.stride();
  }
};

// One part of one sample.
using Pass = void (*)(const Job&, int64_t sample, int64_t part);

struct Passes {
  Pass moments;        // sums of x - mean and (x - mean)^2, where `mean` is any number of the entry
  Pass forward;        // out = y
  Pass backward_sums;  // sums of dv, dv (x - mean) and x - mean; in float32 with SiLU also out = dv
  Pass backward;       // out = dx, behind backward_sums with the same `out`
};

const Passes& passes(bool bfloat16, bool silu);

}  // namespace sdpipe::nn::norm
