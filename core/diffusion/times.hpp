// Where on the path a training looks: t = t_min + (1 - t_min) place, the place in [0, 1] drawn by `times`.
//
//   uniform          place_b = u_b
//   low_discrepancy  place_b = frac(u + b/B), one u a step (Kingma et al., arXiv 2107.00630): every batch covers the
//                    path evenly and each t is still uniform. b is the number of the image in the training, so that a
//                    batch may be split; nothing is shuffled, because the order of the images is.
//   importance       with density p by measured loss, each sample's loss counting 1/p, which keeps its expectation
//                    (after Nichol and Dhariwal, arXiv 2102.09672)
#pragma once

#include <cstddef>
#include <vector>

namespace sdpipe {

enum class Times { uniform, low_discrepancy, importance };

struct Place {
  double at = 0;      // in [0, 1]
  double weight = 1;  // 1 / density
};

// What `importance` adapts to: E[loss^2] over the path, in bins of equal width. A checkpoint holds it.
class LossHistogram {
 public:
  static constexpr size_t bins = 32;
  LossHistogram() : mean_square_(bins), count_(bins) {}
  // As they stood in a checkpoint. Throws RunError unless there are `bins` of each.
  LossHistogram(std::vector<double> mean_square, std::vector<double> count);
  // `loss` of one sample, not weighted by 1/p. A mean of the first hundred in its bin, then an exponential average.
  void record(double place, double loss);
  // p of each bin, summing to 1: nine tenths by sqrt(E[loss^2]) and one tenth uniform, so that no weight exceeds 10;
  // uniform until every bin has seen ten losses, and where all losses are 0.
  std::vector<double> probabilities() const;
  const std::vector<double>& mean_square() const { return mean_square_; }
  const std::vector<double>& count() const { return count_; }

 private:
  std::vector<double> mean_square_, count_;
};

// The place below which a share u in [0, 1) of the probability lies; p is constant within each bin.
Place place_of(double u, const std::vector<double>& probabilities);

}  // namespace sdpipe
