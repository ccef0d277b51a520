// Norms of samples that lie in host memory.
#pragma once

#include <cmath>
#include <vector>

#include "core/abi/plugin.hpp"

namespace sdpipe {

// The root of the mean square of each sample of a batch.
inline std::vector<double> rms(const sdp_tensor* x) {
  std::vector<double> out;
  sdp::dispatch(*x, [&](auto zero) {
    const sdp::Batch<const decltype(zero)> samples(x);
    for (int64_t b = 0; b < samples.size(); ++b) {
      double sum = 0;
      for (int64_t i = 0; i < samples.stride(); ++i) sum += static_cast<double>(samples[b][i]) * samples[b][i];
      out.push_back(std::sqrt(sum / static_cast<double>(samples.stride())));
    }
  });
  return out;
}

}  // namespace sdpipe
