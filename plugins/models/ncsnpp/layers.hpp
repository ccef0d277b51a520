// The layers of NCSN++ (Song et al., arXiv 2011.13456, Appendix H), named as score_sde names them, so that its weights
// load as they are. Widths are numbers of channels; every norm has min(width / 4, 32) groups.
#pragma once

#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <string>

#include "plugins/models/ncsnpp/settings.hpp"
#include "plugins/models/nn/group_norm.hpp"

namespace sdpipe::ncsnpp {

// Refuses widths that do not divide into the groups.
torch::nn::GroupNorm norm_of(int64_t width);
torch::nn::Conv2d conv3x3(int64_t in, int64_t out);
torch::nn::Conv2d conv1x1(int64_t in, int64_t out);
at::Tensor activate(Activation activation, const at::Tensor& x);
// activate(norm(x + offset)), where `offset` (batch, channel) may be undefined.
at::Tensor activated_norm(const Settings& s, torch::nn::GroupNorm& norm, const at::Tensor& x,
                          const at::Tensor& offset = {});

// Fourier features with frequencies W, frozen and normally distributed with standard deviation `scale`.
struct FourierImpl : torch::nn::Module {
  FourierImpl(int64_t width, double scale);
  at::Tensor forward(const at::Tensor& condition);
  at::Tensor W;
};
TORCH_MODULE(Fourier);

// A 1x1 convolution whose matrix is stored as (in, out).
struct NinImpl : torch::nn::Module {
  NinImpl(int64_t in, int64_t out);
  at::Tensor forward(const at::Tensor& x);
  at::Tensor W, b;
};
TORCH_MODULE(Nin);

// x + NIN_3(attention over all pixels of norm(x)), in one head.
struct AttentionImpl : torch::nn::Module {
  AttentionImpl(const Settings& s, int64_t width);
  at::Tensor forward(const at::Tensor& x);
  at::Tensor run(const at::Tensor& x);
  nn::FastPaths fast;
  bool rescale;
  torch::nn::GroupNorm norm;
  Nin q, k, v, project;
};
TORCH_MODULE(Attention);

enum class Resampling { none, halve, twice };

// The residual block of either type. With `resampling` (BigGAN) both branches change the resolution in front of their
// convolutions.
struct BlockImpl : torch::nn::Module {
  BlockImpl(const Settings& s, int64_t in, int64_t out, Resampling resampling, uint32_t number);
  // x, or x and `skip` side by side.
  at::Tensor forward(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& embedding,
                     const at::Tensor& skip = {});
  at::Tensor run(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& embedding);
  at::Tensor resampled(const at::Tensor& x) const;
  at::Tensor shortcut(const at::Tensor& x);

  Settings settings;
  Resampling resampling;
  uint32_t draw;
  torch::nn::GroupNorm norm_0;
  torch::nn::Conv2d conv_0;
  torch::nn::Linear dense_0;
  torch::nn::GroupNorm norm_1;
  torch::nn::Conv2d conv_1;
  torch::nn::Conv2d conv_2{nullptr};
  Nin nin_0{nullptr};
};
TORCH_MODULE(Block);

// Half or twice the resolution, with a 3x3 convolution from `in` to `out` channels if `with_conv`.
struct ResampleImpl : torch::nn::Module {
  ResampleImpl(const Settings& s, Resampling direction, bool with_conv, int64_t in, int64_t out);
  at::Tensor forward(const at::Tensor& x);

  Settings settings;
  Resampling direction;
  torch::nn::Conv2d conv{nullptr};
};
TORCH_MODULE(Resample);

// Takes a level of the input pyramid into h, through a 1x1 convolution: added, or set in front of h's channels.
struct CombineImpl : torch::nn::Module {
  CombineImpl(Combination how, int64_t in, int64_t out);
  at::Tensor forward(const at::Tensor& pyramid, const at::Tensor& h);
  Combination how;
  torch::nn::Conv2d conv;
};
TORCH_MODULE(Combine);

// (a + b) / sqrt(2) with `rescale`, which keeps the variance, else a + b.
at::Tensor joined(const at::Tensor& a, const at::Tensor& b, bool rescale);

}  // namespace sdpipe::ncsnpp
