#include "plugins/models/nn/conv3x3.hpp"

#include <ATen/ops/conv2d.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include <algorithm>
#include <optional>
#include <variant>

#include "plugins/models/nn/winograd.hpp"

namespace sdpipe::nn {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct WinogradConvolution : torch::autograd::Function<WinogradConvolution> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& bias) {
    ctx->save_for_backward({x, weight});
    return winograd::convolve(x, weight, bias.value_or(at::Tensor()));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& gradients) {
    TORCH_CHECK(!at::GradMode::is_enabled(),
                "the Winograd convolution has no second derivative: winograd = false takes LibTorch's, which has one");
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const at::Tensor gy = gradients[0].contiguous(at::MemoryFormat::ChannelsLast);
    variable_list out(3);
    if (ctx->needs_input_grad(0)) out[0] = winograd::input_gradient(gy, weight);
    if (ctx->needs_input_grad(1)) out[1] = winograd::weight_gradient(gy, x);
    if (ctx->needs_input_grad(2)) out[2] = gy.sum({0, 2, 3});
    return out;
  }
};

using Options = torch::nn::detail::ConvNdOptions<2>;

bool suits(const Options& o) {
  const auto all = [](const auto& sides, int64_t n) { return sides->at(0) == n && sides->at(1) == n; };
  const auto* const padding = std::get_if<torch::ExpandingArray<2>>(&o.padding());
  return all(o.kernel_size(), 3) && all(o.stride(), 1) && all(o.dilation(), 1) && padding && all(*padding, 1) &&
         o.groups() == 1 && std::holds_alternative<torch::enumtype::kZeros>(o.padding_mode());
}

// What LibTorch's own convolution in bfloat16 is like, against float32.
enum class OfBfloat16 { slow, twice_as_fast, many_times_as_fast };

OfBfloat16 of_bfloat16() {
#if defined(__x86_64__)
  unsigned int a = 0, b = 0, c = 0, d = 0;
  const bool amx = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1);  // AMX-BF16
  if (amx) return OfBfloat16::many_times_as_fast;
  return __builtin_cpu_supports("avx512bf16") ? OfBfloat16::twice_as_fast : OfBfloat16::slow;
#else
  return OfBfloat16::many_times_as_fast;  // not measured
#endif
}

// Few tiles do not pay for the transform of the filters, which takes the longer in proportion the less of them stays in
// the cache; nor do tiles that stand beyond the border for a good part. Measured with AVX-512, in one thread: from
// batches of about four on, all that is taken is faster. By the image alone, not the batch: a sample's bits must not
// depend on what it is computed with.
bool pays(const Options& o, const at::Tensor& x) {
  int64_t filters_a_tile = 128 * 128, pixels_a_tile = 8;  // of 16
  if (x.scalar_type() == at::kBFloat16) {
    static const OfBfloat16 cpu = of_bfloat16();
    if (cpu == OfBfloat16::many_times_as_fast) return false;
    if (cpu == OfBfloat16::twice_as_fast) filters_a_tile = 64 * 64, pixels_a_tile = 13;
  }
  const int64_t tiles = ((x.size(2) + 3) / 4) * ((x.size(3) + 3) / 4);
  return std::min(o.in_channels(), o.out_channels()) >= 16 && x.size(2) * x.size(3) >= pixels_a_tile * tiles &&
         o.in_channels() * o.out_channels() <= tiles * filters_a_tile;
}

}  // namespace

at::Tensor conv3x3(const FastPaths& fast, const torch::nn::Conv2d& conv, const at::Tensor& x) {
  const Options& o = conv->options;
  if (!fast.winograd || x.dim() != 4 || !x.is_cpu() || !winograd::takes(x.scalar_type()) ||
      conv->weight.scalar_type() != x.scalar_type() || !suits(o) || !pays(o, x))
    return torch::nn::Conv2d(conv)->forward(x);
  TORCH_CHECK(x.size(1) == o.in_channels(), "a 3 x 3 convolution of ", o.in_channels(), " channels got x with ",
              x.size(1));
  if (!at::GradMode::is_enabled()) return winograd::convolve(x, conv->weight, conv->bias);
  return WinogradConvolution::apply(x, conv->weight, conv->bias.defined() ? std::optional(conv->bias) : std::nullopt);
}

}  // namespace sdpipe::nn
