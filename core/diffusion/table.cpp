#include "core/diffusion/table.hpp"

#include <ATen/ops/tensor.h>

namespace sdpipe {

at::Tensor table_tensor(const std::vector<double>& values) {
  return at::tensor(at::ArrayRef<double>(values), at::TensorOptions(at::kDouble));
}

std::vector<double> table_values(const at::Tensor& table) {
  const at::Tensor t = table.contiguous();
  return {t.const_data_ptr<double>(), t.const_data_ptr<double>() + t.numel()};
}

}  // namespace sdpipe
