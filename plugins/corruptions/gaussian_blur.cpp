// gaussian_blur: convolution with a sampled Gaussian of standard deviation `level` pixels,
//   y_i = sum_k g_k x_reflect(i + k),  g_k = exp(-k^2 / (2 level^2)) / sum_j exp(-j^2 / (2 level^2)),  |k| <= R,
// along both axes. R = ceil(4 std_max) at every level, so that C is smooth in level: a radius that grew with it would
// make C jump. Beyond the edge the image is reflected without repeating the edge pixel, so that C is not symmetric:
// its matrices are transposed for the adjoint. The blur of Cold Diffusion (arXiv 2208.09392) and of most image
// libraries; heat_blur, with its mirror that repeats the edge, agrees with it inside the image from level 3 px on, and
// differs below, where a sampled Gaussian is no longer one. Eigenvalues fall below float32's least number under strong
// blur: C is singular in practice.
//
//   [corruption]
//   type = "gaussian_blur"
//   std_max = 23.0      # px

#include <cmath>
#include <limits>

#include "plugins/corruptions/separable.hpp"

namespace {

// A_ij = sum of g_k over all k with reflect(i + k) = j.
template <class T>
std::vector<T> axis_matrix(int64_t n, double level, int64_t radius) {
  // A denormal product of a row's and a column's weight would be slow and mean nothing.
  const double least = std::sqrt(static_cast<double>(std::numeric_limits<T>::min()));
  std::vector<double> g = {1};
  double sum = 1;
  for (int64_t k = 1; k <= radius; ++k) {
    const double distance = static_cast<double>(k) / level, weight = std::exp(-0.5 * distance * distance);
    if (weight < least) break;
    g.push_back(weight);
    sum += 2 * weight;
  }
  std::vector<double> a(n * n);
  for (int64_t i = 0; i < n; ++i) {
    a[i * n + i] += g[0] / sum;
    for (int64_t k = 1; k < static_cast<int64_t>(g.size()); ++k) {
      a[i * n + sdpipe::reflect(i + k, n)] += g[k] / sum;
      a[i * n + sdpipe::reflect(i - k, n)] += g[k] / sum;
    }
  }
  std::vector<T> rounded(a.size());
  std::transform(a.begin(), a.end(), rounded.begin(),
                 [least](double v) { return v < least ? T(0) : static_cast<T>(v); });
  return rounded;
}

class GaussianBlur {
 public:
  double std_max = 23.0;
  double level_max() const { return std_max; }

  void prepare(sdp::Call& call, const sdp::Shape& shape) { separable_.prepare(call, shape); }

  template <class T>
  void apply(sdp::Call&, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    blur(at, x, y, false);
  }
  template <class T>
  void adjoint(sdp::Call&, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    blur(at, x, y, true);
  }

 private:
  template <class T>
  void blur(const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y, bool transposed) const {
    const int64_t radius = static_cast<int64_t>(std::ceil(4 * std_max));
    separable_.apply<T>(at, x, y, transposed,
                        [radius](int64_t n, double level) { return axis_matrix<T>(n, level, radius); });
  }

  sdpipe::SeparableOperator separable_;
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::corruption<GaussianBlur>("gaussian_blur", "1.0.0", "Gaussian blur by a finite kernel, reflected edges")
               .real("std_max", &GaussianBlur::std_max, sdp::above_to(0, 1000), "px",
                     "Standard deviation of the strongest blur; the kernel reaches four of it")
               .level_unit("px"))
