// patch_mask: random square patches set to zero, all channels together,
//   (C x)_p = 0 where u_k < level, else x_p,  k the patch that holds pixel p, u_k uniform in [0, 1) from the key.
// The image is tiled with patches from its upper left corner; those at the right and lower edge may be cut. level is
// the expected fraction of masked patches, and masks of one key are nested. Like pixel_mask it jumps in t, so that no
// sampler converges to the exact law on it (docs/method.md). Patches as in masked autoencoders (arXiv 2111.06377).
//
//   [corruption]
//   type = "patch_mask"
//   patch = 4           # px
//   fraction_max = 1.0

#include "plugins/corruptions/mask.hpp"

namespace {

struct PatchMask : sdpipe::MaskOperator<PatchMask> {
  int64_t patch = 4;
  double fraction_max = 1.0;
  double level_max() const { return fraction_max; }

  int64_t count(int64_t pixels) const { return (pixels + patch - 1) / patch; }
  size_t draws() const { return static_cast<size_t>(count(size().height) * count(size().width)); }
  void fill(double level, const std::vector<double>& u, std::vector<double>& m) const {
    const int64_t columns = count(size().width);
    for (int64_t i = 0, p = 0; i < size().height; ++i) {
      for (int64_t j = 0; j < size().width; ++j, ++p) m[p] = u[i / patch * columns + j / patch] < level ? 0 : 1;
    }
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::corruption<PatchMask>("patch_mask", "1.0.0", "Random patches masked, nested over levels")
                             .integer("patch", &PatchMask::patch, sdp::between(1, 4096), "px", "Side of a patch")
                             .real("fraction_max", &PatchMask::fraction_max, sdp::above_to(0, 1), "",
                                   "Fraction of the patches that is masked at the end of the path"))
