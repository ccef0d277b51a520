// kernel: convolution with a kernel from an image file, blended with the identity by l = level in [0, 1],
//   y_p = (1 - l) x_p + l sum_d k_d x_(p - d).
// k is the mean of the file's channels divided by its sum, with its origin at pixel (height / 2, width / 2) rounded
// down: a lone bright pixel becomes the picture of the kernel. Beyond the edge the image is reflected without repeating
// the edge pixel. For l < 1/2 C is invertible for any kernel, as no eigenvalue of the convolution exceeds 1; from there
// on that depends on the kernel, and most blurs are singular in practice at l = 1.
//
//   [corruption]
//   type = "kernel"
//   image = "kernel.png"  # beside the pipeline file; small, its cost grows with its pixels that are not black

#include <numeric>

#include "plugins/corruptions/convolution.hpp"

namespace {

class Kernel {
 public:
  sdp::Image image;
  double level_max() const { return 1.0; }

  void prepare(sdp::Call& call, const sdp::Shape& shape) {
    size_ = sdpipe::image_size(call, shape);
    const double sum = std::accumulate(image.pixels.begin(), image.pixels.end(), 0.0);
    if (!(sum > 0)) call.fail("the kernel is black: at least one pixel must be brighter", "image");
    const int64_t height = image.shape[1], width = image.shape[2], pixels = height * width;
    for (int64_t p = 0; p < pixels; ++p) {
      double weight = 0;
      for (int64_t c = 0; c < image.shape[0]; ++c) weight += static_cast<double>(image.pixels[c * pixels + p]) / sum;
      if (weight != 0) taps_.push_back({height / 2 - p / width, width / 2 - p % width, weight});
    }
  }

  template <class T>
  void apply(sdp::Call&, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    sdpipe::convolve<T>(size_, at, x, y, false, [&](int64_t b) { return blended(at.level[b]); });
  }
  template <class T>
  void adjoint(sdp::Call&, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    sdpipe::convolve<T>(size_, at, x, y, true, [&](int64_t b) { return blended(at.level[b]); });
  }

 private:
  std::vector<sdpipe::Tap> blended(double level) const {
    std::vector<sdpipe::Tap> taps = taps_;
    for (sdpipe::Tap& tap : taps) tap.weight *= level;
    taps.push_back({0, 0, 1 - level});
    return taps;
  }

  sdpipe::ImageSize size_;
  std::vector<sdpipe::Tap> taps_;
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::corruption<Kernel>("kernel", "1.0.0", "A blur of your own: its kernel from an image")
                             .image("image", &Kernel::image, "The kernel, scaled to sum 1")
                             .example("image = \"kernel.png\""))
