// Precision and recall of Kynkäänniemi, Karras, Laine, Lehtinen, Aila (arXiv 1904.06991): the manifold of a set is the
// union of balls around its points, each reaching to the point's k-th nearest neighbour in the set.
#pragma once

#include <ATen/core/Tensor.h>

namespace sdpipe {

inline constexpr int64_t manifold_neighbours = 3;  // k, the paper's choice

struct PrecisionRecall {
  double precision = 0;  // share of samples in the manifold of real points: are they plausible
  double recall = 0;     // share of real points in the manifold of samples: are all kinds there
};

// Rows of `real` (n, f) and `samples` (m, f); the paper takes n = m, and both depend on it. The edge of a ball belongs
// to it. Throws std::invalid_argument where a set has not more than k points.
PrecisionRecall precision_recall(const at::Tensor& real, const at::Tensor& samples, int64_t k = manifold_neighbours);

}  // namespace sdpipe
