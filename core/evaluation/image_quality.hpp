// How near a restored picture is to the true one. Both are bytes, as PNG files hold them: what lies outside [-1, 1] has
// been clamped, and the data range is 255.
#pragma once

#include "core/data/images.hpp"

namespace sdpipe {

// 10 log10(255^2 / mean squared difference) over all channels, in dB; infinite for equal pictures. Throws
// std::invalid_argument where the shapes differ.
double psnr(const ByteImage& a, const ByteImage& b);

// Mean structural similarity (Wang, Bovik, Sheikh, Simoncelli, IEEE Transactions on Image Processing 13, 2004):
// Gaussian window 11 x 11 with standard deviation 1.5, K1 = 0.01, K2 = 0.03, weighted moments, mean over the places
// where the window lies inside, and over the channels. Without the downsampling of large pictures that some programs
// do first. A picture narrower or lower than 11 pixels has a window of its own width or height (ours).
double ssim(const ByteImage& a, const ByteImage& b);

}  // namespace sdpipe
