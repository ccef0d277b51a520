// The arithmetic that the host does for plugins, on the CPU and on a GPU.
#pragma once

#include "core/host/services.hpp"

namespace sdpipe {

// out = sum_i coef[i] * x[i] in one pass; out may be one of x. All contiguous, of one shape, dtype and device; else
// throws std::invalid_argument.
void lincomb(at::Tensor& out, std::span<const double> coef, std::span<const at::Tensor> x);

// out = sum_i coef[i] * x[i] + std * eta, where eta is what `random` would fill a tensor like `out` with.
void lincomb_with_noise(at::Tensor& out, std::span<const double> coef, std::span<const at::Tensor> x, double std,
                        const RandomScope& random, uint32_t draw);

}  // namespace sdpipe
