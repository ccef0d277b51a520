// What the four faces share: the checks at the border to a plugin, and how an instance is made. Only their .cpp files
// include this.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/host/operators.hpp"

namespace sdpipe {

inline uint32_t dtype_bit(at::ScalarType dtype) {
  return dtype == at::kDouble     ? SDP_DTYPE_F64
         : dtype == at::kFloat    ? SDP_DTYPE_F32
         : dtype == at::kBFloat16 ? SDP_DTYPE_BF16
                                  : 0;
}

// Of samples: only parameters may be narrower than float32.
inline void require_dtype(const Plugin& plugin, const at::Tensor& x) {
  if (plugin.descriptor->dtypes & dtype_bit(x.scalar_type()) & (SDP_DTYPE_F32 | SDP_DTYPE_F64)) return;
  throw PluginFailure(fmt::format("plugin \"{}\" does not offer {}; set run.precision to another", plugin.id(),
                                  x.scalar_type() == at::kDouble ? "float64" : "this dtype"),
                      "");
}

// Does a plugin that computes on the CPU alone get copies in place of tensors on `device`? Corruptions, samplers and
// fitted models do.
inline bool is_staged(const Plugin& plugin, at::Device device) {
  return device.is_cuda() && !(plugin.descriptor->devices & SDP_ON_CUDA);
}

// As the ABI promises: C-contiguous, and aligned to 64 bytes, which a slice of a batch need not be.
inline at::Tensor for_plugin(const at::Tensor& x) {
  const at::Tensor y = x.contiguous();
  return reinterpret_cast<uintptr_t>(y.const_data_ptr()) % 64 == 0 ? y : y.clone();
}

inline void require_input(const Plugin& plugin, const SampleShape& sample, const Points& at, const at::Tensor& x) {
  SampleShape expected = {static_cast<int64_t>(at.size())};
  expected.insert(expected.end(), sample.begin(), sample.end());
  if (x.sizes() != at::IntArrayRef(expected)) {
    throw PluginFailure(fmt::format("plugin \"{}\": the input has shape [{}], expected [{}]", plugin.id(),
                                    fmt::join(x.sizes(), ", "), fmt::join(expected, ", ")),
                        "");
  }
  require_dtype(plugin, x);
}

inline sdp_sample_shape shape_view(const SampleShape& sample) {
  return {sizeof(sdp_sample_shape), static_cast<int32_t>(sample.size()), sample.data()};
}

// A plugin's view of calibration data; batches are borrowed until the call returns.
sdp_calibration calibration_view(const CalibrationData& data);

// Creates an instance; `make` is the table's create with everything but ctx and self bound.
template <class Make>
std::shared_ptr<void> instance(const Plugin& plugin, Make make, void (*destroy)(void*) noexcept) {
  sdp_ctx context(plugin.id());
  void* self = nullptr;
  const sdp_status status = make(&context, &self);
  context.require(status, "create");
  return std::shared_ptr<void>(self, destroy);
}

}  // namespace sdpipe
