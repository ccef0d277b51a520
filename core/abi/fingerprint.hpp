/* The build facts on which the host and a plugin that links LibTorch must agree. Both use the one
 * LibTorch of the process, so a plugin compiled against other headers would misread its objects.
 * The loader compares the text; a plugin without LibTorch has "". */
#ifndef SDPIPE_FINGERPRINT_HPP
#define SDPIPE_FINGERPRINT_HPP

#include <torch/version.h>

#include <string> /* defines _GLIBCXX_USE_CXX11_ABI */

#define SDP_TEXT_OF_VALUE(x) #x
#define SDP_TEXT_OF(x) SDP_TEXT_OF_VALUE(x)

#if defined(_GLIBCXX_USE_CXX11_ABI)
#define SDP_FACT_STD "libstdc++ cxx11 abi " SDP_TEXT_OF(_GLIBCXX_USE_CXX11_ABI)
#else
#define SDP_FACT_STD "libc++"
#endif
#if __has_include(<ATen/cuda/CUDAConfig.h>) /* generated only where LibTorch was built with CUDA */
#define SDP_FACT_CUDA "with CUDA"
#else
#define SDP_FACT_CUDA "without CUDA"
#endif

#undef SDP_FINGERPRINT /* plugin.hpp's "" */
#define SDP_FINGERPRINT "torch " TORCH_VERSION " " SDP_FACT_CUDA ", " SDP_FACT_STD

#endif /* SDPIPE_FINGERPRINT_HPP */
