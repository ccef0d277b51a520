// The layers of UNet2DModel, named as diffusers names them, so that its weights load as they are.
#pragma once

#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include "plugins/models/nn/group_norm.hpp"
#include "plugins/models/unet2d/settings.hpp"

namespace sdpipe::unet2d {

// How many groups a norm has, and which setting says so; none, where a block type has a number of its own.
struct Groups {
  int64_t number;
  const char* setting = "norm_num_groups";
};
// Refuses widths that do not divide into the groups.
torch::nn::GroupNorm norm_of(const Groups& groups, int64_t width, double eps);
torch::nn::Conv2d conv_of(int64_t in, int64_t out, int64_t kernel);
at::Tensor activate(Activation activation, const at::Tensor& x);

// Frozen random frequencies of log(condition), or an embedding for each timestep. Neither, if positional.
struct TimeProjectionImpl : torch::nn::Module {
  explicit TimeProjectionImpl(const Settings& s);
  // (batch, angles) of the condition, (batch), float64.
  at::Tensor forward(const at::Tensor& condition);

  TimeEmbedding type;
  int64_t width, freq_shift;
  bool flip;
  at::Tensor weight;
};
TORCH_MODULE(TimeProjection);

struct EmbeddingImpl : torch::nn::Module {
  EmbeddingImpl(int64_t in, int64_t out);
  at::Tensor forward(const at::Tensor& angles);
  torch::nn::Linear linear_1, linear_2;
};
TORCH_MODULE(Embedding);

// Embeddings of labels, which a point has none of: held and exchanged, never used.
struct LabelTableImpl : torch::nn::Module {
  LabelTableImpl(int64_t labels, int64_t width);
  at::Tensor weight;
};
TORCH_MODULE(LabelTable);

// (x + to_out(attention over all pixels of group_norm(x))) / divisor, in heads of `head` channels. No norm: 0 groups.
struct AttentionImpl : torch::nn::Module {
  AttentionImpl(const Settings& s, int64_t width, const Groups& groups, double divisor);
  at::Tensor forward(const at::Tensor& x);
  at::Tensor run(const at::Tensor& x);

  nn::FastPaths fast;
  int64_t head, heads;
  double divisor;
  torch::nn::GroupNorm group_norm{nullptr};
  torch::nn::Linear to_q{nullptr}, to_k{nullptr}, to_v{nullptr};
  torch::nn::ModuleList to_out;
};
TORCH_MODULE(Attention);

enum class Resampling { none, halve, twice };

// Half or twice the resolution without parameters: means and nearest neighbours, or the filter [1, 3, 3, 1].
at::Tensor resampled(const at::Tensor& x, Resampling resampling, bool fir);

struct ResnetShape {
  int64_t in, out;
  Groups groups_in, groups_out;
  double divisor = 1;  // of the sum of both branches
  Resampling resampling = Resampling::none;
  bool fir = false;
};

// Both branches change the resolution in front of their convolutions.
struct ResnetImpl : torch::nn::Module {
  // `number` numbers the network's draws of dropout.
  ResnetImpl(const Settings& s, const ResnetShape& shape, uint32_t number);
  // `skip`, if defined, is set behind x's channels.
  at::Tensor forward(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& embedding,
                     const at::Tensor& skip = {});
  at::Tensor run(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& embedding);
  nn::Modulation told(const at::Tensor& embedding);

  nn::FastPaths fast;
  Activation activation;
  TimeShift time_shift;
  ResnetShape shape;
  double dropout;
  uint32_t draw;
  torch::nn::GroupNorm norm1;
  torch::nn::Conv2d conv1;
  torch::nn::Linear time_emb_proj;
  torch::nn::GroupNorm norm2;
  torch::nn::Conv2d conv2, conv_shortcut{nullptr};
};
TORCH_MODULE(Resnet);

// A convolution behind nearest neighbours, or with stride 2: with padding 0 it sees one more row and column of zeros,
// at the bottom and right.
struct ResampleConvImpl : torch::nn::Module {
  ResampleConvImpl(const Settings& s, Resampling direction, int64_t width);
  at::Tensor forward(const at::Tensor& x);

  nn::FastPaths fast;
  Resampling direction;
  bool pads;
  torch::nn::Conv2d conv{nullptr};
};
TORCH_MODULE(ResampleConv);

}  // namespace sdpipe::unet2d
