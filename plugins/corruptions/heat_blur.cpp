// heat_blur: the heat equation with Neumann (mirror) boundaries, run for a time that makes a Gaussian of standard
// deviation `level` pixels. Diagonal in the DCT-II basis:
//   C = D^T diag(exp(-0.5 level^2 ((pi i / H)^2 + (pi j / W)^2))) D
// Rissanen, Heinonen, Solin: "Generative modelling with inverse heat dissipation" (arXiv 2206.13397), equation 6;
// the blur of Soft Diffusion (arXiv 2209.05442). Separable: y = A_H x A_W with symmetric A_H and A_W.
//
//   [corruption]
//   type = "heat_blur"
//   std_max = 23.0      # px; the paper's for 64 x 64 images

#include "plugins/corruptions/heat_axis.hpp"
#include "plugins/corruptions/heat_blur_cuda.hpp"
#include "plugins/corruptions/separable.hpp"

namespace {

#ifdef SDPIPE_CUDA
constexpr uint32_t devices = SDP_ON_CPU | SDP_ON_CUDA;
#else
constexpr uint32_t devices = SDP_ON_CPU;
#endif

template <class T>
std::vector<T> axis_matrix(int64_t n, double level) {
  std::vector<double> cosine, decay = {1}, f;
  for (int64_t i = 0; i < 2 * n; ++i) cosine.push_back(sdpipe::heat::cosine_at(i, n));
  // They fall: behind the first 0 there are no others.
  for (int64_t k = 1; k < n && decay.back() > 0; ++k) decay.push_back(sdpipe::heat::eigenvalue<T>(k, n, level));
  for (int64_t r = 0; r < 2 * n; ++r)
    f.push_back(sdpipe::heat::mirrored_sum(cosine.data(), decay.data(), n, static_cast<int64_t>(decay.size()), r));
  std::vector<T> matrix(n * n);
  for (int64_t a = 0; a < n; ++a) {
    for (int64_t b = 0; b < n; ++b) matrix[a * n + b] = sdpipe::heat::entry<T>(f.data(), n, a, b);
  }
  return matrix;
}

class HeatBlur {
 public:
  double std_max = 23.0;
  double level_max() const { return std_max; }

  void prepare(sdp::Call& call, const sdp::Shape& shape) {
    separable_.prepare(call, shape);
    size_ = sdpipe::image_size(call, shape);
  }

  template <class T>
  void apply([[maybe_unused]] sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
#ifdef SDPIPE_CUDA
    if (x.raw()->device_type == SDP_DEVICE_CUDA) return apply_on_gpu(call, at, x, y);
#endif
    separable_.apply<T>(at, x, y, false, axis_matrix<T>);
  }

  template <class T>
  void adjoint(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    apply(call, at, x, y);  // D^T diag D is symmetric
  }

 private:
#ifdef SDPIPE_CUDA
  template <class T>
  void apply_on_gpu(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    const sdpipe::HeatBatch batch{x.size(), size_.channels, size_.height, size_.width, at.level};
    const sdpipe::HeatScratch need = sdpipe::heat_scratch<T>(batch);
    double* doubles = nullptr;
    T* elements = nullptr;
    if (need.doubles > 0) {
      sdp_tensor as_double = *x.raw();
      as_double.dtype_bits = 64;
      doubles = static_cast<double*>(call.scratch({need.doubles}, &as_double)->data);
      elements = static_cast<T*>(call.scratch({need.elements}, x.raw())->data);
    }
    const int code = sdpipe::launch_heat_blur<T>(batch, x.data(), y.data(), doubles, elements, call.stream());
    if (code != 0)
      call.fail(std::string("its CUDA kernel did not start: ") + sdpipe::heat_error(code), {}, SDP_E_DEVICE);
  }
#endif

  sdpipe::SeparableOperator separable_;
  sdpipe::ImageSize size_;
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::corruption<HeatBlur>("heat_blur", "1.0.0", "Gaussian blur by the heat equation")
               .real("std_max", &HeatBlur::std_max, sdp::above(0), "px", "Standard deviation of the strongest blur")
               .level_unit("px")
               .devices(devices))
