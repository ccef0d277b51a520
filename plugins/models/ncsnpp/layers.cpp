#include "plugins/models/ncsnpp/layers.hpp"

#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/elu.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/leaky_relu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>

#include <cmath>
#include <utility>

#include "plugins/models/nn/attention.hpp"
#include "plugins/models/nn/checkpoint.hpp"
#include "plugins/models/nn/conv3x3.hpp"
#include "plugins/models/nn/embedding.hpp"
#include "plugins/models/nn/fir.hpp"
#include "plugins/models/nn/resample.hpp"

namespace sdpipe::ncsnpp {

namespace {

[[noreturn]] void refuse_width(int64_t width) {
  throw sdp::Failure(SDP_E_INVALID, "nf",
                     "a norm of " + std::to_string(width) +
                         " channels cannot be cut into score_sde's groups, a quarter of the channels but at most 32; "
                         "choose nf and ch_mult so that the widths, and sums of neighbouring ones, can be");
}

}  // namespace

torch::nn::GroupNorm norm_of(int64_t width) {
  const int64_t groups = std::min<int64_t>(width / 4, 32);
  if (groups == 0 || width % groups != 0) refuse_width(width);
  return torch::nn::GroupNorm(torch::nn::GroupNormOptions(groups, width).eps(1e-6));
}

torch::nn::Conv2d conv3x3(int64_t in, int64_t out) {
  return torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, 3).padding(1));
}
torch::nn::Conv2d conv1x1(int64_t in, int64_t out) { return torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, 1)); }

at::Tensor activate(Activation activation, const at::Tensor& x) {
  switch (activation) {
    case Activation::elu:
      return at::elu(x);
    case Activation::relu:
      return at::relu(x);
    case Activation::lrelu:
      return at::leaky_relu(x, 0.2);
    case Activation::swish:
      break;
  }
  return at::silu(x);
}

at::Tensor activated_norm(const Settings& s, torch::nn::GroupNorm& norm, const at::Tensor& x,
                          const at::Tensor& offset) {
  const bool swish = s.nonlinearity == Activation::swish;
  const at::Tensor y = nn::group_norm(s, norm, x, {offset, {}, {}}, swish);
  return swish ? y : activate(s.nonlinearity, y);
}

at::Tensor joined(const at::Tensor& a, const at::Tensor& b, bool rescale) {
  const at::Tensor sum = a + b;
  return rescale ? sum / std::sqrt(2.0) : sum;
}

FourierImpl::FourierImpl(int64_t width, double scale) : W(register_buffer("W", nn::normal_quantiles(width, scale))) {}

at::Tensor FourierImpl::forward(const at::Tensor& condition) { return nn::fourier_features(condition, W); }

NinImpl::NinImpl(int64_t in, int64_t out)
    : W(register_parameter("W", at::empty({in, out}))), b(register_parameter("b", at::empty({out}))) {}

at::Tensor NinImpl::forward(const at::Tensor& x) {
  if (x.is_contiguous(at::MemoryFormat::ChannelsLast))
    return at::linear(x.permute({0, 2, 3, 1}), W.t(), b).permute({0, 3, 1, 2});
  return at::conv2d(x, W.t().unsqueeze(-1).unsqueeze(-1), b);
}

AttentionImpl::AttentionImpl(const Settings& s, int64_t width)
    : fast(s),
      rescale(s.skip_rescale),
      norm(register_module("GroupNorm_0", norm_of(width))),
      q(register_module("NIN_0", Nin(width, width))),
      k(register_module("NIN_1", Nin(width, width))),
      v(register_module("NIN_2", Nin(width, width))),
      project(register_module("NIN_3", Nin(width, width))) {}

at::Tensor AttentionImpl::forward(const at::Tensor& x) {
  return nn::checkpointed(fast, *this, {x}, [this](const std::vector<at::Tensor>& in) { return run(in[0]); });
}

at::Tensor AttentionImpl::run(const at::Tensor& x) {
  const at::Tensor h = nn::group_norm(fast, norm, x, false);
  const auto positions = [&](Nin& layer) { return nn::heads_of_map(layer(h), 1); };
  const at::Tensor mixed = nn::attention(fast, positions(q), positions(k), positions(v));
  return joined(x, project(nn::map_of_heads(mixed, x.size(2))), rescale);
}

BlockImpl::BlockImpl(const Settings& s, int64_t in, int64_t out, Resampling resampling_in, uint32_t number)
    : settings(s),
      resampling(resampling_in),
      draw(number),
      norm_0(register_module("GroupNorm_0", norm_of(in))),
      conv_0(register_module("Conv_0", conv3x3(in, out))),
      dense_0(register_module("Dense_0", torch::nn::Linear(4 * s.nf, out))),
      norm_1(register_module("GroupNorm_1", norm_of(out))),
      conv_1(register_module("Conv_1", conv3x3(out, out))) {
  if (in == out && resampling == Resampling::none) return;
  if (s.resblock_type == BlockType::biggan)
    conv_2 = register_module("Conv_2", conv1x1(in, out));
  else
    nin_0 = register_module("NIN_0", Nin(in, out));
}

at::Tensor BlockImpl::resampled(const at::Tensor& x) const {
  if (resampling == Resampling::none) return x;
  const bool halve = resampling == Resampling::halve;
  if (settings.fir) return halve ? nn::fir_halve(x, settings.fir_kernel) : nn::fir_double(x, settings.fir_kernel);
  return halve ? nn::halved(x) : nn::doubled(x);
}

at::Tensor BlockImpl::shortcut(const at::Tensor& x) {
  if (!conv_2.is_empty()) return conv_2(resampled(x));
  return nin_0.is_empty() ? x : nin_0(x);
}

at::Tensor BlockImpl::forward(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& embedding,
                              const at::Tensor& skip) {
  const auto block = [this, &pass](const std::vector<at::Tensor>& in) {
    return run(pass, in[2].defined() ? at::cat({in[0], in[2]}, 1) : in[0], in[1]);
  };
  return nn::checkpointed(settings, *this, {x, embedding, skip}, block);
}

at::Tensor BlockImpl::run(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& embedding) {
  at::Tensor h = nn::conv3x3(settings, conv_0, resampled(activated_norm(settings, norm_0, x)));
  const at::Tensor told = embedding.defined() ? dense_0(activate(settings.nonlinearity, embedding)) : at::Tensor();
  h = activated_norm(settings, norm_1, h, told);
  h = nn::conv3x3(settings, conv_1, sdp::dropout(pass, h, settings.dropout, draw));
  return joined(shortcut(x), h, settings.skip_rescale);
}

ResampleImpl::ResampleImpl(const Settings& s, Resampling direction_in, bool with_conv, int64_t in, int64_t out)
    : settings(s), direction(direction_in) {
  if (!with_conv) return;
  const bool strided = direction == Resampling::halve && !s.fir;  // padded by hand, at two of the four sides
  torch::nn::Conv2d layer =
      strided ? torch::nn::Conv2d(torch::nn::Conv2dOptions(in, out, 3).stride(2)) : conv3x3(in, out);
  conv = register_module(s.fir ? "Conv2d_0" : "Conv_0", std::move(layer));
}

at::Tensor ResampleImpl::forward(const at::Tensor& x) {
  const std::vector<double>& taps = settings.fir_kernel;
  const bool halve = direction == Resampling::halve;
  if (settings.fir) {
    if (conv.is_empty()) return halve ? nn::fir_halve(x, taps) : nn::fir_double(x, taps);
    return (halve ? nn::fir_halve_conv : nn::fir_double_conv)(x, taps, conv->weight, conv->bias);
  }
  if (halve) return conv.is_empty() ? nn::halved(x) : conv(at::constant_pad_nd(x, {0, 1, 0, 1}));
  const at::Tensor wide = nn::doubled(x);
  return conv.is_empty() ? wide : nn::conv3x3(settings, conv, wide);
}

CombineImpl::CombineImpl(Combination how_in, int64_t in, int64_t out)
    : how(how_in), conv(register_module("Conv_0", conv1x1(in, out))) {}

at::Tensor CombineImpl::forward(const at::Tensor& pyramid, const at::Tensor& h) {
  return how == Combination::cat ? at::cat({conv(pyramid), h}, 1) : conv(pyramid) + h;
}

}  // namespace sdpipe::ncsnpp
