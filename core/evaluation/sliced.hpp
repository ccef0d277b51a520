// The sliced Wasserstein distance (Rabin, Peyré, Delon, Bernot, SSVM 2011):
//
//   SW^2 = mean over directions of W2^2 between the projections onto them
//
// Directions are orthonormal, so with as many as dimensions a shift s costs exactly |s|^2 / d.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace sdpipe {

// (d, min(d, count)), float64: orthonormal columns, uniform among all such, drawn by seed.
at::Tensor orthonormal_directions(int64_t d, int64_t count, uint64_t seed);

// Sorted projections of `points` (n, d): one column a direction.
at::Tensor sorted_projections(const at::Tensor& points, const at::Tensor& directions);

// SW between two such sets of n and m points, in the points' unit. On a line the optimal coupling joins equal
// quantiles, which for n != m splits points.
double sliced_wasserstein(const at::Tensor& a, const at::Tensor& b);

}  // namespace sdpipe
