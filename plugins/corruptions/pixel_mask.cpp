// pixel_mask: random pixels set to zero, all channels together,
//   (C x)_p = 0 where u_p < level, else x_p,  u_p uniform in [0, 1) from the sample's key.
// level is the expected fraction of masked pixels; masks of one key are nested, so that a pixel once masked stays
// masked at every higher level. A hard mask jumps in t: no sampler converges to the exact law on it (docs/method.md).
//
//   [corruption]
//   type = "pixel_mask"
//   fraction_max = 1.0  # 1 masks everything: the end of the path is pure noise

#include "plugins/corruptions/mask.hpp"

namespace {

struct PixelMask : sdpipe::MaskOperator<PixelMask> {
  double fraction_max = 1.0;
  double level_max() const { return fraction_max; }

  size_t draws() const { return static_cast<size_t>(size().pixels()); }
  void fill(double level, const std::vector<double>& u, std::vector<double>& m) const {
    for (size_t p = 0; p < m.size(); ++p) m[p] = u[p] < level ? 0 : 1;
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::corruption<PixelMask>("pixel_mask", "1.0.0", "Random pixels masked, nested over levels")
                             .real("fraction_max", &PixelMask::fraction_max, sdp::above_to(0, 1), "",
                                   "Fraction of the pixels that is masked at the end of the path"))
