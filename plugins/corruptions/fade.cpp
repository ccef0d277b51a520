// fade: to the mean colour of the image itself, channel by channel,
//   C(l) = (1 - l) I + l P,  P = 1 1^T / (H W),  l = level in [0, 1].
// P is a projection, so that C is symmetric, invertible for l < 1, and of rank 1 a channel at l = 1.
//
//   [corruption]
//   type = "fade"

#include <numeric>

#include "plugins/corruptions/image.hpp"

namespace {

class Fade {
 public:
  double level_max() const { return 1.0; }
  void prepare(sdp::Call& call, const sdp::Shape& shape) { size_ = sdpipe::image_size(call, shape); }

  template <class T>
  void apply(sdp::Call&, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    const int64_t n = size_.pixels();
    for (int64_t plane = 0; plane < x.size() * size_.channels; ++plane) {
      const double level = at.level[plane / size_.channels];
      const T *in = x.data() + plane * n, keep = static_cast<T>(1 - level);
      const T add = static_cast<T>(level * std::accumulate(in, in + n, 0.0) / static_cast<double>(n));
      T* out = y.data() + plane * n;
      for (int64_t p = 0; p < n; ++p) out[p] = keep * in[p] + add;
    }
  }

  template <class T>
  void adjoint(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    apply(call, at, x, y);  // symmetric
  }

 private:
  sdpipe::ImageSize size_;
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::corruption<Fade>("fade", "1.0.0", "The image fades to its mean colour"))
