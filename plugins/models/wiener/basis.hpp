// The basis in which data and corruption are taken to be diagonal: DCT of every channel, or the pixels themselves.
#pragma once

#include <optional>
#include <vector>

#include "plugins/dct/dct.hpp"

namespace sdpipe::wiener {

class Basis {
 public:
  Basis(int64_t height, int64_t width, bool dct) : plane_(height * width) {
    if (dct) dct_.emplace(height, width);
  }
  void forward(std::vector<double>& sample) {
    for (size_t i = 0; dct_ && i < sample.size(); i += static_cast<size_t>(plane_)) dct_->forward(&sample[i]);
  }
  void inverse(std::vector<double>& sample) {
    for (size_t i = 0; dct_ && i < sample.size(); i += static_cast<size_t>(plane_)) dct_->inverse(&sample[i]);
  }

 private:
  int64_t plane_;
  std::optional<Dct> dct_;
};

}  // namespace sdpipe::wiener
