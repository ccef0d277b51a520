// Masks: y_p = m_p(level, key) x_p, the same m for all channels. A diagonal is its own transpose.
#pragma once

#include <algorithm>
#include <vector>

#include "plugins/corruptions/image.hpp"

namespace sdpipe {

// Where a mask begins to grow: at the place that its parameters name, or at one that follows from each sample's key.
enum class Place { point, key };

// Base of a mask plugin, which has
//   size_t draws() const;                                    uniform numbers in [0, 1) by key that one mask takes
//   void fill(double level, const std::vector<double>& u,    writes m, one entry a pixel, row by row
//             std::vector<double>& m) const;
template <class Mask>
class MaskOperator {
 public:
  void prepare(sdp::Call& call, const sdp::Shape& shape) { size_ = image_size(call, shape); }

  template <class T>
  void apply(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    const Mask& mask = static_cast<const Mask&>(*this);
    const std::vector<double> u = draw(call, mask.draws(), x);
    std::vector<double> own(mask.draws()), m(size_.pixels());
    std::vector<T> rounded(m.size());
    for (int64_t b = 0; b < x.size(); ++b) {
      if (at.level[b] == 0) {
        std::copy_n(x[b], x.stride(), y[b]);
        continue;
      }
      std::copy_n(u.begin() + b * static_cast<int64_t>(own.size()), own.size(), own.begin());
      mask.fill(at.level[b], own, m);
      std::copy(m.begin(), m.end(), rounded.begin());
      multiply_planes(rounded, x[b], y[b]);
    }
  }

  template <class T>
  void adjoint(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    apply(call, at, x, y);
  }

 protected:
  const ImageSize& size() const { return size_; }

 private:
  template <class T>
  std::vector<double> draw(sdp::Call& call, size_t n, sdp::Batch<const T> x) const {
    if (n == 0) return {};
    const sdp::Batch<T> u(call.scratch({x.size(), static_cast<int64_t>(n)}, x.raw()));
    call.uniform(0, u.raw_mutable());
    return std::vector<double>(u.data(), u.data() + u.size() * u.stride());
  }

  template <class T>
  void multiply_planes(const std::vector<T>& m, const T* x, T* y) const {
    for (int64_t c = 0; c < size_.channels; ++c, x += m.size(), y += m.size()) {
      for (size_t p = 0; p < m.size(); ++p) y[p] = m[p] * x[p];
    }
  }

  ImageSize size_;
};

}  // namespace sdpipe
