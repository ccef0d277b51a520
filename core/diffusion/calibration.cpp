#include "core/diffusion/calibration.hpp"

#include <algorithm>
#include <numeric>

#include "core/base/random.hpp"

namespace sdpipe {

std::vector<int64_t> choose_images(int64_t size, int64_t count, uint64_t seed) {
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), 0);
  const int64_t n = std::min(size, count);
  for (int64_t i = 0; i < n; ++i) {  // Fisher-Yates, as far as needed
    const uint64_t left = static_cast<uint64_t>(size - i);
    const uint64_t j = random_bits({seed, Purpose::calibration, static_cast<uint64_t>(i)}) % left;
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(i) + j]);
  }
  order.resize(static_cast<size_t>(n));
  return order;
}

DataCalibration::DataCalibration(const Source& source, const Corruption& corruption, const at::TensorOptions& options,
                                 int64_t count, int64_t batch, uint64_t seed)
    : corruption_(corruption) {
  const std::vector<int64_t> chosen = choose_images(source.size(), count, seed);
  for (size_t first = 0; first < chosen.size(); first += static_cast<size_t>(batch)) {
    const size_t n = std::min(static_cast<size_t>(batch), chosen.size() - first);
    batches_.push_back(read_batch(source, std::span(chosen).subspan(first, n)).to(options.device(at::kCPU)));
    std::vector<uint64_t>& keys = keys_.emplace_back();
    for (size_t i = 0; i < n; ++i) keys.push_back(key_of(seed, first + i));
  }
}

at::Tensor DataCalibration::corrupt(uint32_t k, double level) const {
  const std::vector<uint64_t>& keys = keys_.at(k);
  const double share = level / corruption_.level_max();
  return corruption_.apply({std::vector<double>(keys.size(), share), std::vector<double>(keys.size(), level),
                            std::vector<double>(keys.size(), 0.0), keys},
                           batches_.at(k));
}

int64_t DataCalibration::n_images() const {
  int64_t n = 0;
  for (const at::Tensor& b : batches_) n += b.size(0);
  return n;
}

}  // namespace sdpipe
