#include "plugins/models/unet2d/layers.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/mish.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/sin.h>

#include <cmath>
#include <utility>

#include "plugins/models/nn/attention.hpp"
#include "plugins/models/nn/checkpoint.hpp"
#include "plugins/models/nn/conv3x3.hpp"
#include "plugins/models/nn/embedding.hpp"
#include "plugins/models/nn/fir.hpp"
#include "plugins/models/nn/resample.hpp"

namespace sdpipe::unet2d {

namespace {

// The standard deviation of diffusers' random frequencies.
constexpr double fourier_scale = 16;

// In float32 whatever the network's dtype, and step by step as diffusers does it: in float64 both agree to the last
// digits only so. An odd width gets a column of zeros.
at::Tensor positional(const at::Tensor& condition, int64_t width, int64_t freq_shift, bool flip) {
  const int64_t half = width / 2;
  const at::Tensor order = at::arange(half, condition.options().dtype(at::kFloat));
  const at::Tensor frequency = (order * -std::log(1e4) / static_cast<double>(half - freq_shift)).exp();
  const at::Tensor phase = condition.to(at::kFloat).unsqueeze(1) * frequency.unsqueeze(0);
  const at::Tensor both = flip ? at::cat({phase.cos(), phase.sin()}, 1) : at::cat({phase.sin(), phase.cos()}, 1);
  return at::constant_pad_nd(both, {0, width % 2});
}

// activation(norm(x)), x modulated; the fused kernel knows SiLU.
at::Tensor activated_norm(const nn::FastPaths& fast, Activation activation, const torch::nn::GroupNorm& norm,
                          const at::Tensor& x, const nn::Modulation& modulation = {}) {
  const bool silu = activation == Activation::silu || activation == Activation::swish;
  const at::Tensor y = nn::group_norm(fast, norm, x, modulation, silu);
  return silu ? y : activate(activation, y);
}

at::Tensor divided(const at::Tensor& sum, double divisor) { return divisor == 1 ? sum : sum / divisor; }

}  // namespace

torch::nn::GroupNorm norm_of(const Groups& groups, int64_t width, double eps) {
  if (groups.number < 1 || width % groups.number != 0)
    throw sdp::Failure(SDP_E_INVALID, groups.setting ? groups.setting : "block_out_channels",
                       "a norm of " + std::to_string(width) + " channels cannot be cut into " +
                           std::to_string(groups.number) + " groups" +
                           (groups.setting ? "; choose it and block_out_channels so that every width, and sums of "
                                             "neighbouring ones, can be"
                                           : ", which block types with Skip have whatever norm_num_groups says; "
                                             "choose widths that can be"));
  return torch::nn::GroupNorm(torch::nn::GroupNormOptions(groups.number, width).eps(eps));
}

torch::nn::Conv2d conv_of(int64_t in, int64_t out, int64_t kernel) {
  return torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, kernel).padding(kernel / 2));
}

at::Tensor activate(Activation activation, const at::Tensor& x) {
  switch (activation) {
    case Activation::mish:
      return at::mish(x);
    case Activation::gelu:
      return at::gelu(x);
    case Activation::relu:
      return at::relu(x);
    case Activation::silu:
    case Activation::swish:
      break;
  }
  return at::silu(x);
}

TimeProjectionImpl::TimeProjectionImpl(const Settings& s)
    : type(s.time_embedding_type), width(s.block_out_channels[0]), freq_shift(s.freq_shift), flip(s.flip_sin_to_cos) {
  if (type == TimeEmbedding::fourier) weight = register_buffer("weight", nn::normal_quantiles(width, fourier_scale));
  if (type == TimeEmbedding::learned) weight = register_parameter("weight", at::empty({s.num_train_timesteps, width}));
}

at::Tensor TimeProjectionImpl::forward(const at::Tensor& condition) {
  if (type == TimeEmbedding::positional) return positional(condition, width, freq_shift, flip);
  if (type == TimeEmbedding::learned)
    return weight.index_select(0, condition.round().clamp(0, weight.size(0) - 1).to(at::kLong));
  return nn::fourier_features(condition, weight);
}

EmbeddingImpl::EmbeddingImpl(int64_t in, int64_t out)
    : linear_1(register_module("linear_1", torch::nn::Linear(in, out))),
      linear_2(register_module("linear_2", torch::nn::Linear(out, out))) {}

at::Tensor EmbeddingImpl::forward(const at::Tensor& angles) { return linear_2(at::silu(linear_1(angles))); }

LabelTableImpl::LabelTableImpl(int64_t labels, int64_t width)
    : weight(register_parameter("weight", at::empty({labels, width}))) {}

AttentionImpl::AttentionImpl(const Settings& s, int64_t width, const Groups& groups, double divisor_in)
    : fast(s),
      head(s.attention_head_dim > 0 ? s.attention_head_dim : width),
      heads(width / head),
      divisor(divisor_in),
      to_out(register_module("to_out", torch::nn::ModuleList())) {
  if (heads == 0)
    throw sdp::Failure(SDP_E_INVALID, "attention_head_dim",
                       "is more than the " + std::to_string(width) + " channels that some attention has in all");
  if (groups.number > 0) group_norm = register_module("group_norm", norm_of(groups, width, s.norm_eps));
  to_q = register_module("to_q", torch::nn::Linear(width, heads * head));
  to_k = register_module("to_k", torch::nn::Linear(width, heads * head));
  to_v = register_module("to_v", torch::nn::Linear(width, heads * head));
  to_out->push_back(torch::nn::Linear(heads * head, width));
}

at::Tensor AttentionImpl::forward(const at::Tensor& x) {
  return nn::checkpointed(fast, *this, {x}, [this](const std::vector<at::Tensor>& in) { return run(in[0]); });
}

at::Tensor AttentionImpl::run(const at::Tensor& x) {
  const int64_t batch = x.size(0), pixels = x.size(2) * x.size(3);
  const at::Tensor h = group_norm.is_empty() ? x : nn::group_norm(fast, group_norm, x, false);
  const at::Tensor tokens = h.flatten(2).transpose(1, 2);
  const auto in_heads = [&](torch::nn::Linear& layer) {
    return layer(tokens).view({batch, pixels, heads, head}).transpose(1, 2);
  };
  const at::Tensor mixed = nn::attention(fast, in_heads(to_q), in_heads(to_k), in_heads(to_v));
  const at::Tensor joined = mixed.transpose(1, 2).reshape({batch, pixels, heads * head});
  const at::Tensor y = to_out[0]->as<torch::nn::Linear>()->forward(joined);
  return divided(x + y.transpose(1, 2).reshape(x.sizes()), divisor);
}

at::Tensor resampled(const at::Tensor& x, Resampling resampling, bool fir) {
  if (resampling == Resampling::none) return x;
  const bool halve = resampling == Resampling::halve;
  if (fir) return halve ? nn::fir_halve(x, {1, 3, 3, 1}) : nn::fir_double(x, {1, 3, 3, 1});
  return halve ? nn::halved(x) : nn::doubled(x);
}

ResnetImpl::ResnetImpl(const Settings& s, const ResnetShape& shape_in, uint32_t number)
    : fast(s),
      activation(s.act_fn),
      time_shift(s.resnet_time_scale_shift),
      shape(shape_in),
      dropout(s.dropout),
      draw(number),
      norm1(register_module("norm1", norm_of(shape.groups_in, shape.in, s.norm_eps))),
      conv1(register_module("conv1", conv_of(shape.in, shape.out, 3))),
      time_emb_proj(register_module(
          "time_emb_proj",
          torch::nn::Linear(s.embedding(), time_shift == TimeShift::scale_shift ? 2 * shape.out : shape.out))),
      norm2(register_module("norm2", norm_of(shape.groups_out, shape.out, s.norm_eps))),
      conv2(register_module("conv2", conv_of(shape.out, shape.out, 3))) {
  if (shape.in != shape.out || shape.fir)
    conv_shortcut = register_module("conv_shortcut", conv_of(shape.in, shape.out, 1));
}

nn::Modulation ResnetImpl::told(const at::Tensor& embedding) {
  const at::Tensor told = time_emb_proj(activate(activation, embedding));
  if (time_shift == TimeShift::added) return {told, {}, {}};
  const std::vector<at::Tensor> half = told.chunk(2, 1);
  return {{}, half[0], half[1]};
}

at::Tensor ResnetImpl::forward(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& embedding,
                               const at::Tensor& skip) {
  const auto block = [this, &pass](const std::vector<at::Tensor>& in) {
    return run(pass, in[2].defined() ? at::cat({in[0], in[2]}, 1) : in[0], in[1]);
  };
  return nn::checkpointed(fast, *this, {x, embedding, skip}, block);
}

at::Tensor ResnetImpl::run(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& embedding) {
  at::Tensor h = activated_norm(fast, activation, norm1, x);
  h = nn::conv3x3(fast, conv1, resampled(h, shape.resampling, shape.fir));
  h = activated_norm(fast, activation, norm2, h, told(embedding));
  h = nn::conv3x3(fast, conv2, sdp::dropout(pass, h, dropout, draw));
  const at::Tensor shortcut = resampled(x, shape.resampling, shape.fir);
  return divided((conv_shortcut.is_empty() ? shortcut : conv_shortcut(shortcut)) + h, shape.divisor);
}

ResampleConvImpl::ResampleConvImpl(const Settings& s, Resampling direction_in, int64_t width)
    : fast(s), direction(direction_in), pads(direction == Resampling::halve && s.downsample_padding == 0) {
  torch::nn::Conv2d halving(torch::nn::Conv2dOptions(width, width, 3).stride(2).padding(s.downsample_padding));
  conv = register_module("conv", direction == Resampling::halve ? halving : conv_of(width, width, 3));
}

at::Tensor ResampleConvImpl::forward(const at::Tensor& x) {
  if (direction == Resampling::twice) return nn::conv3x3(fast, conv, resampled(x, direction, false));
  return conv(pads ? at::constant_pad_nd(x, {0, 1, 0, 1}) : x);
}

}  // namespace sdpipe::unet2d
