#include "core/evaluation/manifold.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cdist.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

namespace sdpipe {
namespace {

constexpr int64_t block = 1024;  // rows of a distance matrix that are held at once

// Differences, not a matrix product: a point's distance to itself must be 0, and equal distances must stay equal.
at::Tensor distances(const at::Tensor& a, const at::Tensor& b) { return at::cdist(a, b, 2, 2); }

template <class F>
at::Tensor by_rows(const at::Tensor& points, F&& f) {
  std::vector<at::Tensor> parts;
  for (int64_t first = 0; first < points.size(0); first += block)
    parts.push_back(f(points.slice(0, first, std::min(first + block, points.size(0)))));
  return at::cat(parts);
}

// The smallest distance of a point is the one to itself.
at::Tensor radii(const at::Tensor& points, int64_t k) {
  return by_rows(points, [&](const at::Tensor& some) { return std::get<0>(distances(some, points).kthvalue(k + 1)); });
}

double share_inside(const at::Tensor& points, const at::Tensor& centres, const at::Tensor& radius) {
  const at::Tensor inside = by_rows(
      points, [&](const at::Tensor& some) { return (distances(some, centres) <= radius).any(1).to(at::kDouble); });
  return inside.mean().item<double>();
}

}  // namespace

PrecisionRecall precision_recall(const at::Tensor& real, const at::Tensor& samples, int64_t k) {
  if (k < 1 || real.size(0) <= k || samples.size(0) <= k) throw std::invalid_argument("a manifold of too few points");
  const at::Tensor r = real.to(at::kDouble), s = samples.to(at::kDouble);
  return {share_inside(s, r, radii(r, k)), share_inside(r, s, radii(s, k))};
}

}  // namespace sdpipe
