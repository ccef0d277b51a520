#include "core/diffusion/times.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/base/error.hpp"

namespace sdpipe {
namespace {

constexpr double memory = 100;         // losses
constexpr double enough = 10;          // losses in a bin before it is trusted
constexpr double uniform_share = 0.1;  // of the probability

}  // namespace

LossHistogram::LossHistogram(std::vector<double> mean_square, std::vector<double> count)
    : mean_square_(std::move(mean_square)), count_(std::move(count)) {
  if (mean_square_.size() != bins || count_.size() != bins) throw RunError("a loss histogram needs 32 bins");
}

void LossHistogram::record(double place, double loss) {
  const size_t k = std::min(static_cast<size_t>(place * static_cast<double>(bins)), bins - 1);
  count_[k] = std::min(count_[k] + 1, memory);
  mean_square_[k] += (loss * loss - mean_square_[k]) / count_[k];
}

std::vector<double> LossHistogram::probabilities() const {
  constexpr double uniform = 1 / static_cast<double>(bins);
  std::vector<double> p;
  for (const double square : mean_square_) p.push_back(std::sqrt(square));
  const double sum = std::accumulate(p.begin(), p.end(), 0.0);
  const bool trusted = *std::min_element(count_.begin(), count_.end()) >= enough;
  if (!trusted || sum <= 0) return std::vector<double>(bins, uniform);
  for (double& share : p) share = (1 - uniform_share) * share / sum + uniform_share * uniform;
  return p;
}

Place place_of(double u, const std::vector<double>& p) {
  size_t k = 0;
  while (k + 1 < p.size() && u >= p[k]) u -= p[k++];
  const double n = static_cast<double>(p.size());
  return {(static_cast<double>(k) + std::min(u / p[k], 1.0)) / n, 1 / (n * p[k])};
}

}  // namespace sdpipe
