#include "plugins/models/nn/group_norm_gpu.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/DeviceGuard.h>

#include <limits>

#include "core/abi/torch_stream.hpp"
#include "plugins/models/nn/group_norm_cuda.hpp"

namespace sdpipe::nn {

namespace {

void require_started(int code) {
  TORCH_CHECK(code == 0, "group normalisation: its CUDA kernel did not start: ", norm_error(code));
}

// x and what goes with it, and the memory that the kernels' pointers refer to.
class Input {
 public:
  Input(const at::Tensor& x, const std::vector<at::Tensor>& affine, int64_t groups, bool silu, bool channels_last) {
    for (const at::Tensor& t : affine) held_.push_back(t.defined() ? t.to(at::kFloat).contiguous() : t);
    const auto numbers = [&](size_t i) { return held_[i].defined() ? held_[i].const_data_ptr<float>() : nullptr; };
    raw = {x.size(0),  x.size(1),          x.size(2) * x.size(3),
           groups,     channels_last,      x.scalar_type() == at::kBFloat16,
           silu,       x.const_data_ptr(), numbers(0),
           numbers(1), numbers(2),         numbers(3),
           numbers(4)};
  }

  NormInput raw;

 private:
  std::vector<at::Tensor> held_;
};

}  // namespace

bool suits_gpu_kernels(const at::Tensor& x) {
  return x.is_cuda() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) && x.numel() > 0 &&
         x.numel() / x.size(0) <= std::numeric_limits<int32_t>::max();
}

NormedOnGpu normalised_on_gpu(const at::Tensor& x, const std::vector<at::Tensor>& affine, int64_t groups, double eps,
                              bool silu, bool channels_last) {
  const c10::DeviceGuard on_its_device(x.device());
  const at::TensorOptions numbers = x.options().dtype(at::kFloat);
  NormedOnGpu r{at::empty_like(x), at::empty({x.size(0), groups}, numbers), at::empty({x.size(0), groups}, numbers)};
  const Input in(x, affine, groups, silu, channels_last);
  require_started(
      launch_group_norm(in.raw, static_cast<float>(eps),
                        {r.y.mutable_data_ptr(), r.mean.mutable_data_ptr<float>(), r.rstd.mutable_data_ptr<float>()},
                        sdp::torch_stream(x.device())));
  return r;
}

std::vector<at::Tensor> differentiated_on_gpu(const at::Tensor& x, const std::vector<at::Tensor>& affine,
                                              const at::Tensor& mean, const at::Tensor& rstd, const at::Tensor& dy,
                                              bool silu, bool channels_last) {
  const c10::DeviceGuard on_its_device(x.device());
  const at::TensorOptions numbers = x.options().dtype(at::kFloat);
  std::vector<at::Tensor> gradients = {at::empty_like(x)};
  for (const at::Tensor& t : affine) gradients.push_back(t.defined() ? at::empty(t.sizes(), numbers) : at::Tensor());
  const at::Tensor sums = at::empty({3, x.size(0), x.size(1)}, numbers);
  const auto gradient = [&](size_t i) {
    return gradients[i].defined() ? gradients[i].mutable_data_ptr<float>() : nullptr;
  };
  const Input in(x, affine, mean.size(1), silu, channels_last);
  const NormGradients g{dy.const_data_ptr(),
                        mean.const_data_ptr<float>(),
                        rstd.const_data_ptr<float>(),
                        gradients[0].mutable_data_ptr(),
                        gradient(1),
                        gradient(2),
                        gradient(3),
                        gradient(4),
                        gradient(5),
                        sums.mutable_data_ptr<float>()};
  require_started(launch_group_norm_backward(in.raw, g, sdp::torch_stream(x.device())));
  return gradients;
}

}  // namespace sdpipe::nn
