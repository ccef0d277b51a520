#include "core/evaluation/sliced.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/tensor.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

#include "core/base/random.hpp"

namespace sdpipe {

at::Tensor orthonormal_directions(int64_t d, int64_t count, uint64_t seed) {
  const at::Tensor normal = at::empty({d, std::min(d, count)}, at::TensorOptions(at::kDouble));
  fill_normal({.seed = seed, .purpose = Purpose::evaluation},
              std::span(normal.data_ptr<double>(), static_cast<size_t>(normal.numel())));
  return std::get<0>(at::linalg_qr(normal));
}

at::Tensor sorted_projections(const at::Tensor& points, const at::Tensor& directions) {
  return std::get<0>(at::matmul(points, directions.to(points.scalar_type())).sort(0));
}

namespace {

// Quantiles (0, 1] in pieces on which both sets have one point each.
struct Coupling {
  std::vector<int64_t> i, j;
  std::vector<double> mass;
};

Coupling equal_quantiles(int64_t n, int64_t m) {
  Coupling c;
  int64_t done = 0;  // in units of 1 / (n m), so exact
  for (int64_t i = 0, j = 0; i < n && j < m;) {
    const int64_t next = std::min((i + 1) * m, (j + 1) * n);
    c.i.push_back(i);
    c.j.push_back(j);
    c.mass.push_back(static_cast<double>(next - done) / static_cast<double>(n * m));
    done = next;
    if (next == (i + 1) * m) ++i;
    if (next == (j + 1) * n) ++j;
  }
  return c;
}

}  // namespace

double sliced_wasserstein(const at::Tensor& a, const at::Tensor& b) {
  if (a.size(1) != b.size(1)) throw std::invalid_argument("projections onto different directions");
  const Coupling c = equal_quantiles(a.size(0), b.size(0));
  const at::Tensor moved = a.index_select(0, at::tensor(c.i)) - b.index_select(0, at::tensor(c.j));
  const at::Tensor costs = moved.to(at::kDouble).square().mean(at::IntArrayRef{1});
  return std::sqrt(costs.dot(at::tensor(c.mass)).item<double>());
}

}  // namespace sdpipe
