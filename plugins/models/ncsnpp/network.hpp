// The network of ncsnpp.cpp: a U-Net whose layers stand in one list, all_modules, in the order of score_sde.
#pragma once

#include <torch/nn/modules/container/modulelist.h>

#include <vector>

#include "plugins/models/ncsnpp/layers.hpp"

namespace sdpipe::ncsnpp {

class Network : public torch::nn::Module {
 public:
  // Images have `channels` channels and are `pixels` wide.
  Network(const Settings& settings, int64_t channels, int64_t pixels);
  // x0_hat - x.
  at::Tensor forward(const sdp::Pass& pass, const at::Tensor& x);

 private:
  // One resolution on the way down: blocks, each with its attention if any; then half the resolution, where the input
  // pyramid joins.
  struct Descent {
    std::vector<Block> blocks;
    std::vector<Attention> attentions;
    Block halving_block{nullptr};
    Resample halving{nullptr}, pyramid{nullptr};
    Combine combine{nullptr};
  };
  // One resolution on the way up: blocks that take the skips, attention, the output pyramid, twice the resolution.
  struct Ascent {
    std::vector<Block> blocks;
    Attention attention{nullptr};
    Resample pyramid{nullptr}, doubling{nullptr};
    torch::nn::GroupNorm norm{nullptr};
    torch::nn::Conv2d conv{nullptr};
    Block doubling_block{nullptr};
  };

  template <class Layer>
  Layer add(Layer layer) {
    all_modules_->push_back(layer);
    return layer;
  }
  Block add_block(int64_t in, int64_t out, Resampling resampling = Resampling::none);
  void add_embedding();
  // These return the number of channels behind what they add; `skips` are those of each skip connection.
  int64_t add_descent(size_t level, int64_t width, int64_t pixels, std::vector<int64_t>& skips);
  int64_t add_halving(Descent& d, int64_t width);
  int64_t add_ascent(size_t level, int64_t width, int64_t pixels, std::vector<int64_t>& skips);
  void add_output_pyramid(Ascent& a, size_t level, int64_t width);

  // The network as score_sde has it: y for images in the network's range, computed in `dtype`.
  at::Tensor evaluate(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& condition, at::ScalarType dtype);
  at::Tensor embed(const at::Tensor& condition, at::ScalarType dtype);
  at::Tensor descend(Descent& d, const sdp::Pass& pass, const at::Tensor& embedding, std::vector<at::Tensor>& skips,
                     at::Tensor& pyramid);
  at::Tensor halved(Descent& d, const sdp::Pass& pass, const at::Tensor& h, const at::Tensor& embedding,
                    at::Tensor& pyramid);
  at::Tensor ascend(Ascent& a, const sdp::Pass& pass, at::Tensor h, const at::Tensor& embedding,
                    std::vector<at::Tensor>& skips, at::Tensor& pyramid);
  void extend_output_pyramid(Ascent& a, at::Tensor& h, at::Tensor& pyramid);
  at::Tensor normalised(torch::nn::GroupNorm& norm, torch::nn::Conv2d& conv, const at::Tensor& h);

  Settings settings_;
  int64_t channels_, pyramid_channels_;
  uint32_t blocks_ = 0;  // numbers the draws of dropout
  torch::nn::ModuleList all_modules_;
  Fourier fourier_{nullptr};
  torch::nn::Linear embed_0_{nullptr}, embed_1_{nullptr};
  torch::nn::Conv2d stem_{nullptr};
  std::vector<Descent> down_;
  Block middle_0_{nullptr}, middle_1_{nullptr};
  Attention middle_attention_{nullptr};
  std::vector<Ascent> up_;
  torch::nn::GroupNorm head_norm_{nullptr};
  torch::nn::Conv2d head_{nullptr};
};

}  // namespace sdpipe::ncsnpp
