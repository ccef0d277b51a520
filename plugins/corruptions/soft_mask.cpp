// soft_mask: a mask that fades in and grows from a point, for l = level in [0, 1] and d_p the distance of pixel p's
// centre from the point,
//   (C x)_p = (1 - a exp(-d_p^2 / (2 r^2))) x_p,  a = 1 - (1 - l)^2,  r = radius max(H, W) l / (1 - l).
// At level l the point itself keeps (1 - l)^2 of its value. C is invertible for l < 1, since no pixel keeps less than
// that, and 0 at l = 1: the end of the path is pure noise. A fading mask as in Soft Diffusion (arXiv 2209.05442), whose
// own formula is not given there; this one is ours. It is smooth in l, so that samplers keep their order on it, which
// they do not on masks that jump.
//
//   [corruption]
//   type = "soft_mask"
//   radius = 0.25       # of the larger side: the mask's standard deviation at level 0.5
//   place = "point"     # or "key": anywhere in the image, for each sample another place
//   x = 0.5             # from the left edge (0) to the right one (1)
//   y = 0.5             # from the upper edge to the lower one

#include <cmath>

#include "plugins/corruptions/mask.hpp"

namespace {

struct SoftMask : sdpipe::MaskOperator<SoftMask> {
  double radius = 0.25, x = 0.5, y = 0.5;
  sdpipe::Place place = sdpipe::Place::point;
  double level_max() const { return 1.0; }

  size_t draws() const { return place == sdpipe::Place::key ? 2 : 0; }
  void fill(double level, const std::vector<double>& u, std::vector<double>& m) const {
    const bool by_key = place == sdpipe::Place::key;
    const std::vector<double> rows = hidden(level, size().height, by_key ? u[0] : y);
    const std::vector<double> columns = hidden(level, size().width, by_key ? u[1] : x);
    const double left = std::max(1 - level, 0.0), least = left * left;
    for (size_t i = 0, p = 0; i < rows.size(); ++i) {
      // 1 - e_i e_j = (1 - e_i) + e_i (1 - e_j), where nothing cancels: m stays positive until level 1.
      for (size_t j = 0; j < columns.size(); ++j, ++p) {
        m[p] = least + (1 - least) * (rows[i] + (1 - rows[i]) * columns[j]);
      }
    }
  }

 private:
  // 1 - exp(-d^2 / (2 r^2)) along one axis.
  std::vector<double> hidden(double level, int64_t n, double at) const {
    const double side = static_cast<double>(std::max(size().height, size().width));
    const double inverse_r = std::max(1 - level, 0.0) / (radius * side * level);
    const double rate = std::min(0.5 * inverse_r * inverse_r, 1e300);  // finite, for pixels at distance 0
    std::vector<double> values(n);
    for (int64_t i = 0; i < n; ++i) {
      const double d = static_cast<double>(i) + 0.5 - at * static_cast<double>(n);
      values[i] = -std::expm1(-rate * d * d);
    }
    return values;
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::corruption<SoftMask>("soft_mask", "1.0.0", "A soft mask that grows from a point")
               .real("radius", &SoftMask::radius, sdp::above_to(0, 100), "of the larger side",
                     "Standard deviation of the mask at level 0.5")
               .choice("place", &SoftMask::place, {"point", "key"}, "Grow from (x, y), or by each key")
               .real("x", &SoftMask::x, sdp::between(0, 1), "", "With place = \"point\": 0 left, 1 right")
               .real("y", &SoftMask::y, sdp::between(0, 1), "", "With place = \"point\": 0 top, 1 bottom"))
