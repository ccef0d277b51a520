// grayscale: colour fades to grey, for l = level in [0, 1] and every pixel,
//   y_c = (1 - l) x_c + l (0.299 x_R + 0.587 x_G + 0.114 x_B),
// the luma of ITU-R BT.601, as where colour pictures are read as grey. C = (1 - l) I + l 1 w^T is not symmetric: its
// transpose is (1 - l) I + l w 1^T. Invertible for l < 1; at l = 1 chroma is lost.
// Three channels are red, green, blue. A fourth is alpha and stays; one (grey) and two (grey, alpha) are left as they
// are, as there is no chroma.
//
//   [corruption]
//   type = "grayscale"

#include <algorithm>
#include <string>

#include "plugins/corruptions/image.hpp"

namespace {

class Grayscale {
 public:
  double level_max() const { return 1.0; }
  void prepare(sdp::Call& call, const sdp::Shape& shape) {
    size_ = sdpipe::image_size(call, shape);
    if (size_.channels > 4) {
      call.fail("knows images of 1 to 4 channels, not of " + std::to_string(size_.channels), {}, SDP_E_UNSUPPORTED);
    }
  }

  template <class T>
  void apply(sdp::Call&, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    mix(at, x, y, luma, ones);
  }
  template <class T>
  void adjoint(sdp::Call&, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    mix(at, x, y, ones, luma);
  }

 private:
  static constexpr double luma[3] = {0.299, 0.587, 0.114}, ones[3] = {1, 1, 1};

  // y = (1 - l) x + l out in^T x
  template <class T>
  void mix(const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y, const double* in, const double* out) const {
    const int64_t n = size_.pixels();
    for (int64_t b = 0; b < x.size(); ++b) {
      std::copy_n(x[b], x.stride(), y[b]);
      const double level = at.level[b];
      if (size_.channels < 3 || level == 0) continue;
      const T *r = x[b], *g = r + n, *blue = g + n;
      const T r_in = static_cast<T>(in[0]), g_in = static_cast<T>(in[1]), blue_in = static_cast<T>(in[2]);
      for (int c = 0; c < 3; ++c) {
        const T *own = x[b] + c * n, keep = static_cast<T>(1 - level), add = static_cast<T>(level * out[c]);
        T* result = y[b] + c * n;
        for (int64_t p = 0; p < n; ++p)
          result[p] = keep * own[p] + add * (r_in * r[p] + g_in * g[p] + blue_in * blue[p]);
      }
    }
  }

  sdpipe::ImageSize size_;
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::corruption<Grayscale>("grayscale", "1.0.0", "Colour fades to grey"))
