// The host's arithmetic (arithmetic.hpp) on a CUDA GPU; exists in builds with SDPIPE_CUDA. Work is queued on the
// current stream of the tensors' device. A kernel that does not start throws PluginError.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>

#include "core/base/random.hpp"

namespace sdpipe {

// As lincomb in arithmetic.hpp, for tensors of T that it has checked; all on one GPU.
template <class T>
void lincomb_on_gpu(at::Tensor& out, std::span<const double> coef, std::span<const at::Tensor> x);

// As lincomb_with_noise in arithmetic.hpp: row b of `out` with the normal numbers of rows[b].
template <class T>
void lincomb_with_noise_on_gpu(at::Tensor& out, std::span<const double> coef, std::span<const at::Tensor> x, double std,
                               std::span<const Stream> rows);

// As RandomScope::fill: row b of `out`, contiguous and of T, from rows[b]; distribution is SDP_UNIFORM or SDP_NORMAL.
template <class T>
void fill_on_gpu(int32_t distribution, std::span<const Stream> rows, at::Tensor& out);

}  // namespace sdpipe
