// Rows of numbers as checkpoints hold them: (n), float64.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace sdpipe {

at::Tensor table_tensor(const std::vector<double>& values);
// Of a float64 tensor on the CPU, in its order.
std::vector<double> table_values(const at::Tensor& table);

}  // namespace sdpipe
