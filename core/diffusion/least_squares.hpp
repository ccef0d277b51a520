// Least squares for linear maps that are known by apply and adjoint alone, sample by sample.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace sdpipe {

// A linear map of a batch, sample by sample, and its transpose.
struct LinearMap {
  std::function<at::Tensor(const at::Tensor&)> apply, adjoint;
};

// x -> outer(inner(x))
LinearMap product(LinearMap outer, LinearMap inner);

// When conjugate gradients end: where the gradient has fallen to `tolerance` of its first length, for every sample, or
// after `iterations`, each of which costs one A, one A^T and, with a penalty on C d, one C and one C^T.
struct ConjugateLimits {
  double tolerance = 1e-4;
  int64_t iterations = 50;
};

// identity |d|^2 + corrupted |C d|^2 - 2 <towards, d>
struct Penalty {
  double identity = 0, corrupted = 0;
  LinearMap c = {};         // needed where corrupted > 0
  at::Tensor towards = {};  // undefined: 0; else it must be in the range of the quadratic terms
};

// The d that minimises |r - A d|^2 + penalty(d), for each sample of the batch by itself; the shortest one where there
// are several. Least-squares conjugate gradients (Hestenes and Stiefel 1952) from d = 0, on apply and adjoint alone;
// finite for singular A, also where no d fits r.
at::Tensor least_squares(const LinearMap& a, const Penalty& penalty, const at::Tensor& r,
                         const ConjugateLimits& limits = {});

// One inner product a sample, as (batch, 1, 1, 1) in float64.
at::Tensor dot_of_samples(const at::Tensor& a, const at::Tensor& b);

// over / under, and 0 where there is nothing to divide by: a direction that A and the penalty do not see, or a sample
// that is solved.
at::Tensor ratio_or_zero(const at::Tensor& over, const at::Tensor& under);

}  // namespace sdpipe
