// mask: a mask from an image file, white keeps and black hides. It fades in with l = level in [0, 1],
//   (C x)_p = (1 - l (1 - mask_p)) x_p,
// the mean of the file's channels being mask_p. An image of another size than the samples is stretched to it, each
// pixel taking the nearest of the file, so that black and white stay what they are. Invertible for l < 1; at l = 1
// singular where the mask is black.
//
//   [corruption]
//   type = "mask"
//   image = "mask.png"  # beside the pipeline file

#include <string>

#include "plugins/corruptions/mask.hpp"

namespace {

struct Mask : sdpipe::MaskOperator<Mask> {
  sdp::Image image;
  double level_max() const { return 1.0; }

  void prepare(sdp::Call& call, const sdp::Shape& shape) {
    MaskOperator::prepare(call, shape);
    const int64_t height = image.shape[1], width = image.shape[2];
    if (height != size().height || width != size().width) {
      call.log(1, "the mask of " + std::to_string(height) + " x " + std::to_string(width) + " px is stretched to " +
                      std::to_string(size().height) + " x " + std::to_string(size().width));
    }
    for (int64_t i = 0; i < size().height; ++i) {
      const int64_t row = (2 * i + 1) * height / (2 * size().height);
      for (int64_t j = 0; j < size().width; ++j) {
        hidden_.push_back(1 - brightness(row * width + (2 * j + 1) * width / (2 * size().width)));
      }
    }
  }

  size_t draws() const { return 0; }
  void fill(double level, const std::vector<double>&, std::vector<double>& m) const {
    for (size_t p = 0; p < m.size(); ++p) m[p] = 1 - std::min(level, 1.0) * hidden_[p];
  }

 private:
  double brightness(int64_t pixel) const {
    const int64_t channels = image.shape[0], pixels = image.shape[1] * image.shape[2];
    double sum = 0;
    for (int64_t c = 0; c < channels; ++c) sum += static_cast<double>(image.pixels[c * pixels + pixel]);
    return sum / static_cast<double>(channels);
  }

  std::vector<double> hidden_;  // 1 - mask
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::corruption<Mask>("mask", "1.0.0", "A mask of your own, from an image")
                             .image("image", &Mask::image, "White keeps a pixel, black hides it")
                             .example("image = \"mask.png\""))
