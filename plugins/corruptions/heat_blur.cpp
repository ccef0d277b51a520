// heat_blur: the heat equation with Neumann (mirror) boundaries, run for a time that makes a Gaussian of standard
// deviation `level` pixels. Diagonal in the DCT-II basis:
//   C = D^T diag(exp(-0.5 level^2 ((pi i / H)^2 + (pi j / W)^2))) D
// Rissanen, Heinonen, Solin: "Generative modelling with inverse heat dissipation" (arXiv 2206.13397), equation 6;
// the blur of Soft Diffusion (arXiv 2209.05442). Separable: y = A_H x A_W with symmetric A_H and A_W.
//
//   [corruption]
//   type = "heat_blur"
//   std_max = 23.0      # px; the paper's for 64 x 64 images

#include <cmath>
#include <limits>

#include "plugins/corruptions/separable.hpp"

namespace {

// A = D^T diag(decay) D along one axis of n pixels. A product of cosines is a sum of cosines,
//   A_ab = f(a - b) + f(a + b + 1),  f(r) = 1/n (1/2 + sum_{k >= 1} decay_k cos(pi k r / n)),
// so that a table of 2n numbers, made in float64, is all it takes.
template <class T>
std::vector<T> axis_matrix(int64_t n, double level) {
  std::vector<double> cosine(2 * n), f(2 * n, 0.5);
  for (int64_t i = 0; i < 2 * n; ++i) cosine[i] = std::cos(M_PI * static_cast<double>(i) / static_cast<double>(n));
  for (int64_t k = 1; k < n; ++k) {
    const double rate = level * M_PI * static_cast<double>(k) / static_cast<double>(n);
    const double decay = std::exp(-0.5 * rate * rate);
    // Most eigenvalues underflow under strong blur; denormal ones would be slow and mean nothing.
    if (decay < std::numeric_limits<T>::min()) break;
    for (int64_t r = 0; r < 2 * n; ++r) f[r] += decay * cosine[k * r % (2 * n)];
  }
  std::vector<T> matrix(n * n);
  for (int64_t a = 0; a < n; ++a) {
    for (int64_t b = 0; b < n; ++b) {
      matrix[a * n + b] = static_cast<T>((f[std::abs(a - b)] + f[a + b + 1]) / static_cast<double>(n));
    }
  }
  return matrix;
}

class HeatBlur {
 public:
  double std_max = 23.0;
  double level_max() const { return std_max; }

  void prepare(sdp::Call& call, const sdp::Shape& shape) { separable_.prepare(call, shape); }

  template <class T>
  void apply(sdp::Call&, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    separable_.apply<T>(at, x, y, false, axis_matrix<T>);
  }

  template <class T>
  void adjoint(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    apply(call, at, x, y);  // D^T diag D is symmetric
  }

 private:
  sdpipe::SeparableOperator separable_;
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::corruption<HeatBlur>("heat_blur", "1.0.0", "Gaussian blur by the heat equation")
               .real("std_max", &HeatBlur::std_max, sdp::above(0), "px", "Standard deviation of the strongest blur")
               .level_unit("px"))
