// Entropic optimal transport between two sets of equally many points (Cuturi, arXiv 1306.0895), in the log domain.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sdpipe::wasserstein {

struct EntropicCost {
  double cost;            // <P, cost> + epsilon KL(P | uniform) at the best coupling P
  double marginal_error;  // sum over i of |sum_j P_ij - 1/n| before the last iteration; the other marginal is exact
};

// Converged at this marginal error; the cost is then off by about epsilon times its square.
inline constexpr double sinkhorn_tolerance = 1e-3;

// cost is n x n, row-major, finite and not negative; epsilon > 0. Iterates until it has converged, at most `iterations`
// times at this epsilon: see marginal_error.
EntropicCost sinkhorn(size_t n, const std::vector<double>& cost, double epsilon, int64_t iterations);

}  // namespace sdpipe::wasserstein
