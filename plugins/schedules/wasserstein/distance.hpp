// Estimators of the Wasserstein-2 distance between the corrupted data distributions q_i = law of C(level_i) x_0,
// without noise. The paper does not say which it used; the choice is ours and recorded with the run.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "core/abi/plugin.hpp"

namespace sdpipe::wasserstein {

class Estimator {
 public:
  virtual ~Estimator() = default;
  // W2(q_i, q_j), in the norm over all elements of a sample.
  virtual double distance(size_t i, size_t j) = 0;
  // Whether d(i, k) <= d(i, j) + d(j, k) holds up to rounding, so that some distances need not be measured.
  virtual bool is_metric() const { return true; }
};

// Each looks at `levels[i]` when node i is first asked for; call and data must outlive it.

// The closed form between Gaussians of the same means and variances, with covariances diagonal in the DCT basis:
// W2^2 = |m_i - m_j|^2 + |s_i - s_j|^2. All images of the calibration are used.
std::unique_ptr<Estimator> gaussian_estimator(const sdp::Call& call, const sdp::Calibration& data,
                                              std::vector<double> levels);
// sqrt(E |C(level_i) x_0 - C(level_j) x_0|^2): an upper bound, over the first `points` images.
std::unique_ptr<Estimator> coupled_estimator(const sdp::Call& call, const sdp::Calibration& data,
                                             std::vector<double> levels, int64_t points);
// The exact distance between the two empirical distributions of the first `points` images, by optimal assignment.
std::unique_ptr<Estimator> exact_estimator(const sdp::Call& call, const sdp::Calibration& data,
                                           std::vector<double> levels, int64_t points);
// sqrt(d) times the sliced distance: the root mean square, over random directions, of W2 between the projections of the
// first `points` images of d elements, which sorting gives. In expectation over directions it is never above W2, and
// equal to it for a shift and for a scaling of data that is alike in all directions; otherwise it is another distance,
// less sensitive to what happens in few directions.
std::unique_ptr<Estimator> sliced_estimator(const sdp::Call& call, const sdp::Calibration& data,
                                            std::vector<double> levels, int64_t points, int64_t directions);
// The square root of the debiased Sinkhorn divergence OT(a, b) - OT(a, a) / 2 - OT(b, b) / 2 (Feydy et al., arXiv
// 1810.08278), OT the entropic cost with epsilon = regularisation x the mean squared distance between clean and fully
// corrupted images. No metric. Fails where `iterations` do not suffice.
std::unique_ptr<Estimator> sinkhorn_estimator(const sdp::Call& call, const sdp::Calibration& data,
                                              std::vector<double> levels, int64_t points, double regularisation,
                                              int64_t iterations);

}  // namespace sdpipe::wasserstein
