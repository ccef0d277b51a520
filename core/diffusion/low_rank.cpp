#include "core/diffusion/low_rank.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/matmul.h>

#include <algorithm>

#include "core/base/random.hpp"

namespace sdpipe {
namespace {

constexpr int64_t oversampling = 16, iterations = 2;  // after section 4.4 of Halko, Martinsson and Tropp

// Orthonormal columns that span what the columns of y span.
at::Tensor orthonormal(const at::Tensor& y) { return std::get<0>(at::linalg_qr(y)); }

// (d, columns): close to the span of the largest right singular vectors of a.
at::Tensor largest_subspace(const at::Tensor& a, int64_t columns) {
  at::Tensor probes = at::empty({a.size(0), columns}, a.options());
  fill_normal<double>({0, Purpose::prior, 0, 0, 2}, {probes.data_ptr<double>(), static_cast<size_t>(probes.numel())});
  at::Tensor q = orthonormal(at::matmul(a.t(), probes));
  for (int64_t i = 0; i < iterations; ++i) q = orthonormal(at::matmul(a.t(), at::matmul(a, q)));
  return q;
}

}  // namespace

LowRank principal_components(const at::Tensor& centred, int64_t rank) {
  const int64_t n = centred.size(0), d = centred.size(1);
  const at::Tensor q = largest_subspace(centred, std::min({rank + oversampling, n, d}));
  const at::Tensor inside = at::matmul(centred, q);
  const auto [ascending, vectors] = at::linalg_eigh(at::matmul(inside.t(), inside) / static_cast<double>(n));
  const at::Tensor lambda = ascending.flip({0}).slice(0, 0, rank), u = vectors.flip({1}).slice(1, 0, rank);
  const double total = centred.square().sum().item<double>() / static_cast<double>(n);
  const double others = std::max(total - lambda.sum().item<double>(), 0.0);
  const double r = rank < d ? others / static_cast<double>(d - rank) : 0;
  const at::Tensor directions = at::matmul(q, u);
  return {((lambda - r).clamp_min(0).sqrt() * directions).t().contiguous(), r};
}

}  // namespace sdpipe
