// The calibration's images at one level, batch after batch, as rows of numbers.
#pragma once

#include <vector>

#include "core/abi/plugin.hpp"

namespace sdpipe::wasserstein {

class CorruptedData {
 public:
  CorruptedData(const sdp::Call& call, const sdp::Calibration& data)
      : call_(call), data_(data), rooms_(data.n_batches()) {}

  // {channel, height, width}
  sdp::Shape sample_shape() const {
    const sdp_tensor& first = *data_.batch(0);
    return sdp::Shape(first.shape + 1, first.shape + first.ndim);
  }

  // visit(image) for the first `limit` images of the calibration (all, if there are fewer), each a std::vector<T>.
  template <class T, class F>
  void visit(double level, int64_t limit, F&& visit_image) {
    for (uint32_t k = 0; k < data_.n_batches() && limit > 0; ++k) {
      call_.stop_if_cancelled();
      const sdp_tensor& y = corrupted(k, level);
      const int64_t size = sdp::numel(y) / y.shape[0];
      for (int64_t b = 0; b < y.shape[0] && limit > 0; ++b, --limit) {
        sdp::dispatch(y, [&](auto zero) {
          const auto* image = sdp::Batch<const decltype(zero)>(&y)[b];
          visit_image(std::vector<T>(image, image + size));
        });
      }
    }
  }

 private:
  // Scratch lives until select() returns: one tensor for each batch, not for each level.
  const sdp_tensor& corrupted(uint32_t k, double level) {
    if (!rooms_[k]) rooms_[k] = call_.scratch(data_.batch(k));
    data_.corrupt(k, level, rooms_[k]);
    return *rooms_[k];
  }

  const sdp::Call& call_;
  const sdp::Calibration& data_;
  std::vector<sdp_tensor*> rooms_;
};

}  // namespace sdpipe::wasserstein
