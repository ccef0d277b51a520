// box_mask: a growing box set to zero, with sides level H and level W,
//   (C x)_p = (1 - s_p) x_p,  s_p the share of pixel p that the box covers.
// The box starts at ((1 - level) y H, (1 - level) x W): it lies inside the image at every level, and boxes of one place
// are nested. Whole pixels behind it are lost from low levels on; pixels at its edge fade, so that the path is
// continuous in level, but too steeply for the few steps of a sampler (docs/method.md).
//
//   [corruption]
//   type = "box_mask"
//   side_max = 1.0      # of the image's sides; 1 masks everything
//   place = "point"     # or "key": for each sample another place
//   x = 0.5             # 0: at the left edge, 0.5: in the middle, 1: at the right edge
//   y = 0.5             # 0: at the upper edge, 1: at the lower edge

#include "plugins/corruptions/mask.hpp"

namespace {

struct BoxMask : sdpipe::MaskOperator<BoxMask> {
  double side_max = 1.0, x = 0.5, y = 0.5;
  sdpipe::Place place = sdpipe::Place::point;
  double level_max() const { return side_max; }

  size_t draws() const { return place == sdpipe::Place::key ? 2 : 0; }
  void fill(double level, const std::vector<double>& u, std::vector<double>& m) const {
    const bool by_key = place == sdpipe::Place::key;
    const std::vector<double> rows = covered(level, size().height, by_key ? u[0] : y);
    const std::vector<double> columns = covered(level, size().width, by_key ? u[1] : x);
    for (size_t i = 0, p = 0; i < rows.size(); ++i) {
      for (size_t j = 0; j < columns.size(); ++j, ++p) m[p] = 1 - rows[i] * columns[j];
    }
  }

 private:
  // How much of each of n pixels the box covers along one axis.
  static std::vector<double> covered(double level, int64_t n, double at) {
    const double length = static_cast<double>(n);
    const double first = std::max(1 - level, 0.0) * at * length, last = first + level * length;
    std::vector<double> share(n);
    for (int64_t i = 0; i < n; ++i) {
      const double pixel = static_cast<double>(i);
      share[i] = std::clamp(std::min(last, pixel + 1) - std::max(first, pixel), 0.0, 1.0);
    }
    return share;
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::corruption<BoxMask>("box_mask", "1.0.0", "A growing box masked")
                             .real("side_max", &BoxMask::side_max, sdp::above_to(0, 1), "of the image's sides",
                                   "Sides of the box at the end of the path")
                             .choice("place", &BoxMask::place, {"point", "key"}, "Place by x and y, or by each key")
                             .real("x", &BoxMask::x, sdp::between(0, 1), "", "With place = \"point\": 0 left, 1 right")
                             .real("y", &BoxMask::y, sdp::between(0, 1), "", "With place = \"point\": 0 top, 1 bottom"))
