#include "plugins/models/unet2d/network.hpp"

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "plugins/models/nn/conv3x3.hpp"
#include "plugins/models/nn/embedding.hpp"

namespace sdpipe::unet2d {

namespace {

using torch::nn::ModuleList;

Groups own(int64_t number) { return {number, nullptr}; }
Groups quarter(int64_t width) { return own(std::min<int64_t>(width / 4, 32)); }

// Without norm_num_groups, which blocks with `skip` do not use.
Groups groups_of(const Settings& s, int64_t width) {
  return s.norm_num_groups > 0 ? Groups{s.norm_num_groups} : quarter(width);
}

double divisor_of(const BlockType& type) { return type.skip ? std::sqrt(2.0) : 1; }

bool by_resnet(const BlockType& type, ResampleType set) {
  return type.resampler == Resampler::resnet || (type.resampler == Resampler::as_set && set == ResampleType::resnet);
}

template <class T>
T popped(std::vector<T>& stack) {
  T last = std::move(stack.back());
  stack.pop_back();
  return last;
}

}  // namespace

StageImpl::StageImpl(const Settings& s, const BlockType& type, Resampling direction)
    : settings_(s),
      type_(type),
      direction_(direction),
      resnets_(register_module("resnets", ModuleList())),
      attentions_(register_module("attentions", ModuleList())),
      resamplers_(register_module(direction == Resampling::halve ? "downsamplers" : "upsamplers", ModuleList())) {}

// With `skip` every norm has its own number of groups. That of AttnSkipUpBlock2D divides the skip's width only, whether
// meant or not.
void StageImpl::add_resnet(int64_t in, int64_t skip, int64_t out, uint32_t number) {
  const Groups set{settings_.norm_num_groups};
  ResnetShape shape{in + skip, out, set, set, divisor_of(type_)};
  if (type_.skip) {
    const bool odd = type_.attends && direction_ == Resampling::twice;
    shape.groups_in = odd ? own(std::min<int64_t>(in + skip / 4, 32)) : quarter(in + skip);
    shape.groups_out = quarter(out);
  }
  resnets_->push_back(Resnet(settings_, shape, number));
}

void StageImpl::add_attention(int64_t width) {
  const Groups groups = type_.skip ? own(32) : Groups{settings_.norm_num_groups};
  attentions_->push_back(Attention(settings_, width, groups, divisor_of(type_)));
}

ResnetShape StageImpl::resampling_resnet(int64_t width) const {
  const Groups groups = type_.skip ? quarter(width) : Groups{settings_.norm_num_groups};
  return {width, width, groups, groups, divisor_of(type_), direction_, type_.skip};
}

void StageImpl::add_resampling(int64_t width, int64_t image_channels, uint32_t number) {
  const bool halve = direction_ == Resampling::halve;
  if (!type_.skip) {
    if (by_resnet(type_, halve ? settings_.downsample_type : settings_.upsample_type))
      resamplers_->push_back(Resnet(settings_, resampling_resnet(width), number));
    else
      resamplers_->push_back(ResampleConv(settings_, direction_, width));
    return;
  }
  skip_resnet_ =
      register_module(halve ? "resnet_down" : "resnet_up", Resnet(settings_, resampling_resnet(width), number));
  skip_conv_ =
      register_module("skip_conv", halve ? conv_of(image_channels, width, 1) : conv_of(width, image_channels, 3));
  if (!halve) skip_norm_ = register_module("skip_norm", norm_of(quarter(width), width, settings_.norm_eps));
}

at::Tensor StageImpl::run(size_t i, const sdp::Pass& pass, const at::Tensor& h, const at::Tensor& embedding,
                          const at::Tensor& skip) {
  const at::Tensor y = resnets_[i]->as<Resnet>()->forward(pass, h, embedding, skip);
  const size_t first = resnets_->size() - attentions_->size();
  return attentions_->is_empty() || i < first ? y : attentions_[i - first]->as<Attention>()->forward(y);
}

at::Tensor StageImpl::resample(const sdp::Pass& pass, const at::Tensor& h, const at::Tensor& embedding) {
  if (!skip_resnet_.is_empty()) return skip_resnet_(pass, h, embedding);
  if (auto* const resnet = resamplers_[0]->as<Resnet>()) return resnet->forward(pass, h, embedding);
  return resamplers_[0]->as<ResampleConv>()->forward(h);
}

DownStageImpl::DownStageImpl(const Settings& s, size_t level, int64_t image_channels, std::vector<int64_t>& skips,
                             uint32_t& number)
    : StageImpl(s, s.down[level], Resampling::halve) {
  const int64_t width = s.block_out_channels[level];
  for (int64_t i = 0; i < s.layers_per_block; ++i) {
    add_resnet(skips.back(), 0, width, number++);
    if (type_.attends) add_attention(width);
    skips.push_back(width);
  }
  if (level + 1 == s.levels()) return;
  add_resampling(width, image_channels, number++);
  skips.push_back(width);
}

void DownStageImpl::forward(const sdp::Pass& pass, const at::Tensor& embedding, std::vector<at::Tensor>& skips,
                            at::Tensor& image) {
  for (size_t i = 0; i < resnets_->size(); ++i) skips.push_back(run(i, pass, skips.back(), embedding));
  if (skip_conv_.is_empty() && resamplers_->is_empty()) return;
  skips.push_back(resample(pass, skips.back(), embedding));
  if (!type_.skip) return;
  image = resampled(image, Resampling::halve, true);
  skips.back() = skip_conv_(image) + skips.back();
}

UpStageImpl::UpStageImpl(const Settings& s, size_t stage, int64_t image_channels, std::vector<int64_t>& skips,
                         uint32_t& number)
    : StageImpl(s, s.up[stage], Resampling::twice) {
  const size_t level = s.levels() - 1 - stage;
  const int64_t width = s.block_out_channels[level];
  for (int64_t i = 0; i <= s.layers_per_block; ++i) {
    const int64_t in = i > 0 ? width : s.block_out_channels[std::min(level + 1, s.levels() - 1)];
    add_resnet(in, popped(skips), width, number++);
    if (type_.attends && (!type_.skip || i == s.layers_per_block)) add_attention(width);
  }
  if (level > 0) add_resampling(width, image_channels, number++);
}

at::Tensor UpStageImpl::forward(const sdp::Pass& pass, at::Tensor h, const at::Tensor& embedding,
                                std::vector<at::Tensor>& skips, at::Tensor& image) {
  for (size_t i = 0; i < resnets_->size(); ++i) h = run(i, pass, h, embedding, popped(skips));
  if (type_.skip) {
    if (image.defined()) image = resampled(image, Resampling::twice, true);
    if (skip_conv_.is_empty()) return h;
    const at::Tensor shown = nn::conv3x3(settings_, skip_conv_, nn::group_norm(settings_, skip_norm_, h, true));
    image = image.defined() ? image + shown : shown;
  }
  return skip_conv_.is_empty() && resamplers_->is_empty() ? h : resample(pass, h, embedding);
}

MiddleImpl::MiddleImpl(const Settings& s, int64_t width, uint32_t& number)
    : attentions(register_module("attentions", ModuleList())), resnets(register_module("resnets", ModuleList())) {
  const Groups groups = groups_of(s, width);
  const Groups usual = s.resnet_time_scale_shift == TimeShift::added ? groups : Groups{0};
  const Groups attending = s.attn_norm_num_groups > 0 ? Groups{s.attn_norm_num_groups, "attn_norm_num_groups"} : usual;
  for (int i = 0; i < 2; ++i)
    resnets->push_back(Resnet(s, ResnetShape{width, width, groups, groups, s.mid_block_scale_factor}, number++));
  if (s.add_attention) attentions->push_back(Attention(s, width, attending, s.mid_block_scale_factor));
}

at::Tensor MiddleImpl::forward(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& embedding) {
  at::Tensor h = resnets[0]->as<Resnet>()->forward(pass, x, embedding);
  if (!attentions->is_empty()) h = attentions[0]->as<Attention>()->forward(h);
  return resnets[1]->as<Resnet>()->forward(pass, h, embedding);
}

Network::Network(const Settings& settings, int64_t channels)
    : settings_(settings),
      channels_(channels),
      conv_in_(register_module("conv_in", conv_of(channels, settings.block_out_channels[0], 3))),
      time_proj_(register_module("time_proj", TimeProjection(settings))),
      time_embedding_(register_module("time_embedding", Embedding(settings.angles(), settings.embedding()))),
      down_blocks_(register_module("down_blocks", ModuleList())),
      up_blocks_(register_module("up_blocks", ModuleList())) {
  const Settings& s = settings_;
  const int64_t first = s.block_out_channels.front();
  add_class_embedding();
  uint32_t number = 0;
  std::vector<int64_t> skips{first};
  for (size_t i = 0; i < s.levels(); ++i) down_blocks_->push_back(DownStage(s, i, channels, skips, number));
  if (s.mid_block_type == MiddleType::block)
    mid_block_ = register_module("mid_block", Middle(s, s.block_out_channels.back(), number));
  for (size_t i = 0; i < s.levels(); ++i) up_blocks_->push_back(UpStage(s, i, channels, skips, number));
  conv_norm_out_ = register_module("conv_norm_out", norm_of(groups_of(s, first), first, s.norm_eps));
  conv_out_ = register_module("conv_out", conv_of(first, s.learn_sigma ? 2 * channels : channels, 3));
}

void Network::add_class_embedding() {
  const Settings& s = settings_;
  if (s.class_embed_type == ClassEmbedding::timestep)
    register_module("class_embedding", Embedding(s.angles(), s.embedding()));
  if (s.class_embed_type == ClassEmbedding::none && s.num_class_embeds > 0)
    register_module("class_embedding", LabelTable(s.num_class_embeds, s.embedding()));
}

at::Tensor Network::forward(const sdp::Pass& pass, const at::Tensor& x) {
  const nn::Seen seen = nn::seen_by_network(settings_, pass, pass.x);
  at::Tensor condition = nn::condition_of(settings_, pass, seen.sigma);
  if (settings_.time_embedding_type == TimeEmbedding::fourier) condition = nn::away_from_zero(condition);
  const at::Tensor y = evaluate(pass, seen.x, condition, x.scalar_type());
  return nn::residual_of(settings_, pass, seen, settings_.learn_sigma ? y.narrow(1, 0, channels_) : y);
}

at::Tensor Network::evaluate(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& condition,
                             at::ScalarType dtype) {
  const at::Tensor embedding = time_embedding_(time_proj_(condition).to(dtype));
  at::Tensor image = (settings_.center_input_sample ? 2 * x - 1 : x).to(dtype);
  std::vector<at::Tensor> skips{nn::arranged(settings_, nn::conv3x3(settings_, conv_in_, image))};
  for (const auto& stage : *down_blocks_) stage->as<DownStage>()->forward(pass, embedding, skips, image);
  at::Tensor h = skips.back();
  if (!mid_block_.is_empty()) h = mid_block_(pass, h, embedding);
  image = at::Tensor();
  for (const auto& stage : *up_blocks_) h = stage->as<UpStage>()->forward(pass, h, embedding, skips, image);
  h = nn::conv3x3(settings_, conv_out_, nn::group_norm(settings_, conv_norm_out_, h, true));
  h = (image.defined() ? h + image : h).to(x.scalar_type());
  if (settings_.time_embedding_type != TimeEmbedding::fourier) return h;
  return h / condition.to(x.scalar_type()).view({-1, 1, 1, 1});
}

}  // namespace sdpipe::unet2d
