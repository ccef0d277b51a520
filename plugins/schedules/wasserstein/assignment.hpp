// Optimal assignment, for W2 between two sets of equally many points.
#pragma once

#include <cstddef>
#include <vector>

namespace sdpipe::wasserstein {

// min over permutations pi of the mean of cost[i][pi(i)]; cost is n x n, row-major, finite and not negative.
double optimal_assignment(size_t n, const std::vector<double>& cost);

}  // namespace sdpipe::wasserstein
