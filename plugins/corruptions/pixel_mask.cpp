// pixel_mask: random pixels set to zero, all channels together,
//   (C x)_p = 0 where u_p < level, else x_p,  u_p uniform in [0, 1) from the sample's key.
// level is the expected fraction of masked pixels; masks of one key are nested, so that a pixel once masked stays
// masked at every higher level. A hard mask jumps in t: no sampler converges to the exact law on it (docs/method.md).
//
//   [corruption]
//   type = "pixel_mask"
//   fraction_max = 1.0  # 1 masks everything: the end of the path is pure noise

#include "core/abi/plugin.hpp"

namespace {

struct PixelMask {
  double fraction_max = 1.0;
  int64_t channels = 1;
  double level_max() const { return fraction_max; }

  void prepare(sdp::Call&, const sdp::Shape& shape) { channels = shape.size() > 2 ? shape.front() : 1; }

  template <class T>
  void apply(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    const int64_t pixels = x.stride() / channels;
    const sdp::Batch<T> u(call.scratch({x.size(), pixels}, x.raw()));
    call.uniform(0, u.raw_mutable());
    for (int64_t b = 0; b < x.size(); ++b) {
      for (int64_t i = 0; i < x.stride(); ++i) y[b][i] = u[b][i % pixels] < at.level[b] ? T(0) : x[b][i];
    }
  }

  template <class T>
  void adjoint(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    apply(call, at, x, y);  // a diagonal of zeros and ones
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::corruption<PixelMask>("pixel_mask", "1.0.0", "Random pixels masked, nested over levels")
                             .real("fraction_max", &PixelMask::fraction_max, sdp::above_to(0, 1), "",
                                   "Fraction of the pixels that is masked at the end of the path"))
