// How a corruption sees a sample: planes of height x width pixels, and what lies beyond their edge.
#pragma once

#include "core/abi/plugin.hpp"

namespace sdpipe {

struct ImageSize {
  int64_t channels = 1, height = 1, width = 1;

  int64_t pixels() const { return height * width; }
};

inline ImageSize image_size(const sdp::Call& call, const sdp::Shape& shape) {
  const size_t n = shape.size();
  if (n < 2) call.fail("works on images: samples need a height and a width", {}, SDP_E_UNSUPPORTED);
  ImageSize size{1, shape[n - 2], shape[n - 1]};
  for (size_t i = 0; i + 2 < n; ++i) size.channels *= shape[i];
  return size;
}

// The reflect boundary: the pixel that stands for pixel i of a row of n. The edge is not repeated,
//   ... 2 1 | 0 1 2 ... n-1 | n-2 n-3 ...,
// any number of rows away.
inline int64_t reflect(int64_t i, int64_t n) {
  if (n == 1) return 0;
  const int64_t period = 2 * (n - 1);
  const int64_t within = (i % period + period) % period;
  return within < n ? within : period - within;
}

}  // namespace sdpipe
