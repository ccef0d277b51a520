// The network of unet2d.cpp: a U-Net of stages, one for each resolution and direction, under the names of diffusers.
#pragma once

#include "plugins/models/unet2d/layers.hpp"

namespace sdpipe::unet2d {

// Residual blocks of one resolution, each or the last with attention, and what changes the resolution behind them.
class StageImpl : public torch::nn::Module {
 protected:
  StageImpl(const Settings& s, const BlockType& type, Resampling direction);
  void add_resnet(int64_t in, int64_t skip, int64_t out, uint32_t number);
  void add_attention(int64_t width);
  void add_resampling(int64_t width, int64_t image_channels, uint32_t number);
  at::Tensor run(size_t i, const sdp::Pass& pass, const at::Tensor& h, const at::Tensor& embedding,
                 const at::Tensor& skip = {});
  at::Tensor resample(const sdp::Pass& pass, const at::Tensor& h, const at::Tensor& embedding);
  ResnetShape resampling_resnet(int64_t width) const;

  const Settings settings_;
  const BlockType type_;
  const Resampling direction_;
  torch::nn::ModuleList resnets_, attentions_, resamplers_;
  Resnet skip_resnet_{nullptr};
  torch::nn::GroupNorm skip_norm_{nullptr};
  torch::nn::Conv2d skip_conv_{nullptr};
};

class DownStageImpl : public StageImpl {
 public:
  // `skips` are the widths of the skip connections; the network's last stage does not halve.
  DownStageImpl(const Settings& s, size_t level, int64_t image_channels, std::vector<int64_t>& skips, uint32_t& number);
  // `image` is the pyramid of the input, at the features' resolution.
  void forward(const sdp::Pass& pass, const at::Tensor& embedding, std::vector<at::Tensor>& skips, at::Tensor& image);
};
TORCH_MODULE(DownStage);

class UpStageImpl : public StageImpl {
 public:
  UpStageImpl(const Settings& s, size_t stage, int64_t image_channels, std::vector<int64_t>& skips, uint32_t& number);
  // `image` is the pyramid of the output, undefined before its first level.
  at::Tensor forward(const sdp::Pass& pass, at::Tensor h, const at::Tensor& embedding, std::vector<at::Tensor>& skips,
                     at::Tensor& image);
};
TORCH_MODULE(UpStage);

struct MiddleImpl : torch::nn::Module {
  MiddleImpl(const Settings& s, int64_t width, uint32_t& number);
  at::Tensor forward(const sdp::Pass& pass, const at::Tensor& h, const at::Tensor& embedding);
  torch::nn::ModuleList attentions, resnets;
};
TORCH_MODULE(Middle);

class Network : public torch::nn::Module {
 public:
  Network(const Settings& settings, int64_t channels);
  // x0_hat - x.
  at::Tensor forward(const sdp::Pass& pass, const at::Tensor& x);

 private:
  void add_class_embedding();
  // The network as diffusers has it: y for images in the network's range, computed in `dtype`.
  at::Tensor evaluate(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& condition, at::ScalarType dtype);

  Settings settings_;
  int64_t channels_;
  torch::nn::Conv2d conv_in_;
  TimeProjection time_proj_;
  Embedding time_embedding_;
  torch::nn::ModuleList down_blocks_, up_blocks_;
  Middle mid_block_{nullptr};
  torch::nn::GroupNorm conv_norm_out_{nullptr};
  torch::nn::Conv2d conv_out_{nullptr};
};

}  // namespace sdpipe::unet2d
