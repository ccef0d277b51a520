#include "plugins/models/ncsnpp/network.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include <utility>

#include "plugins/models/ncsnpp/noise_levels.hpp"
#include "plugins/models/nn/conv3x3.hpp"
#include "plugins/models/nn/embedding.hpp"

namespace sdpipe::ncsnpp {

namespace {

at::Tensor popped(std::vector<at::Tensor>& skips) {
  at::Tensor last = std::move(skips.back());
  skips.pop_back();
  return last;
}

int64_t popped(std::vector<int64_t>& widths) {
  const int64_t last = widths.back();
  widths.pop_back();
  return last;
}

}  // namespace

Network::Network(const Settings& settings, int64_t channels, int64_t pixels)
    : settings_(settings),
      channels_(channels),
      pyramid_channels_(channels),
      all_modules_(register_module("all_modules", torch::nn::ModuleList())) {
  const Settings& s = settings_;
  add_embedding();
  stem_ = add(conv3x3(channels, s.nf));
  int64_t width = s.nf;
  std::vector<int64_t> skips{width};
  for (size_t level = 0; level < s.levels(); ++level)
    width = add_descent(level, width, pixels >> static_cast<int64_t>(level), skips);
  middle_0_ = add_block(width, width);
  middle_attention_ = add(Attention(s, width));
  middle_1_ = add_block(width, width);
  for (size_t level = s.levels(); level-- > 0;)
    width = add_ascent(level, width, pixels >> static_cast<int64_t>(level), skips);
  if (s.progressive == OutputPyramid::output_skip) return;
  head_norm_ = add(norm_of(width));
  head_ = add(conv3x3(width, channels));
}

Block Network::add_block(int64_t in, int64_t out, Resampling resampling) {
  return add(Block(settings_, in, out, resampling, blocks_++));
}

void Network::add_embedding() {
  const Settings& s = settings_;
  const bool fourier = s.embedding_type == Embedding::fourier;
  if (fourier) fourier_ = add(Fourier(s.nf, s.fourier_scale));
  if (!s.conditional) return;
  embed_0_ = add(torch::nn::Linear(fourier ? 2 * s.nf : s.nf, 4 * s.nf));
  embed_1_ = add(torch::nn::Linear(4 * s.nf, 4 * s.nf));
}

int64_t Network::add_descent(size_t level, int64_t width, int64_t pixels, std::vector<int64_t>& skips) {
  const Settings& s = settings_;
  Descent d;
  for (int64_t i = 0; i < s.num_res_blocks; ++i) {
    d.blocks.push_back(add_block(width, s.width(level)));
    width = s.width(level);
    if (s.attends(pixels)) d.attentions.push_back(add(Attention(s, width)));
    skips.push_back(width);
  }
  if (level + 1 < s.levels()) skips.push_back(width = add_halving(d, width));
  down_.push_back(std::move(d));
  return width;
}

int64_t Network::add_halving(Descent& d, int64_t width) {
  const Settings& s = settings_;
  if (s.resblock_type == BlockType::biggan)
    d.halving_block = add_block(width, width, Resampling::halve);
  else
    d.halving = add(Resample(s, Resampling::halve, s.resamp_with_conv, width, width));
  if (s.progressive_input == InputPyramid::input_skip) {
    d.pyramid = add(Resample(s, Resampling::halve, false, channels_, channels_));
    d.combine = add(Combine(s.progressive_combine, channels_, width));
    return s.progressive_combine == Combination::cat ? 2 * width : width;
  }
  if (s.progressive_input == InputPyramid::residual) {
    d.pyramid = add(Resample(s, Resampling::halve, true, pyramid_channels_, width));
    pyramid_channels_ = width;
  }
  return width;
}

int64_t Network::add_ascent(size_t level, int64_t width, int64_t pixels, std::vector<int64_t>& skips) {
  const Settings& s = settings_;
  Ascent a;
  for (int64_t i = 0; i <= s.num_res_blocks; ++i) {
    a.blocks.push_back(add_block(width + popped(skips), s.width(level)));
    width = s.width(level);
  }
  if (s.attends(pixels)) a.attention = add(Attention(s, width));
  if (s.progressive != OutputPyramid::none) add_output_pyramid(a, level, width);
  if (level > 0 && s.resblock_type == BlockType::biggan)
    a.doubling_block = add_block(width, width, Resampling::twice);
  else if (level > 0)
    a.doubling = add(Resample(s, Resampling::twice, s.resamp_with_conv, width, width));
  up_.push_back(std::move(a));
  return width;
}

void Network::add_output_pyramid(Ascent& a, size_t level, int64_t width) {
  const Settings& s = settings_;
  const bool first = level + 1 == s.levels(), skip = s.progressive == OutputPyramid::output_skip;
  if (!first) a.pyramid = add(Resample(s, Resampling::twice, !skip, skip ? channels_ : pyramid_channels_, width));
  if (first || skip) {
    a.norm = add(norm_of(width));
    a.conv = add(conv3x3(width, skip ? channels_ : width));
  }
  pyramid_channels_ = width;
}

at::Tensor Network::forward(const sdp::Pass& pass, const at::Tensor& x) {
  const nn::Seen seen = nn::seen_by_network(settings_, pass, pass.x);
  const at::Tensor y = evaluate(pass, seen.x, embedded_condition(settings_, pass, seen.sigma), x.scalar_type());
  return nn::residual_of(settings_, pass, seen, y);
}

at::Tensor Network::evaluate(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& condition,
                             at::ScalarType dtype) {
  const Settings& s = settings_;
  const at::Tensor embedding = embed(condition, dtype);
  const at::Tensor centered = nn::arranged(s, (s.centered ? x : 2 * x - 1).to(dtype));
  at::Tensor input_pyramid = centered, output_pyramid;
  std::vector<at::Tensor> skips{stem_(centered)};
  at::Tensor h;
  for (Descent& d : down_) h = descend(d, pass, embedding, skips, input_pyramid);
  h = middle_1_(pass, middle_attention_(middle_0_(pass, h, embedding)), embedding);
  for (Ascent& a : up_) h = ascend(a, pass, h, embedding, skips, output_pyramid);
  h = (head_.is_empty() ? output_pyramid : normalised(head_norm_, head_, h)).to(x.scalar_type());
  return s.scale_by_sigma ? h / sigma_of(s, condition).to(x.scalar_type()).view({-1, 1, 1, 1}) : h;
}

at::Tensor Network::embed(const at::Tensor& condition, at::ScalarType dtype) {
  if (!settings_.conditional) return {};
  const at::Tensor angles = fourier_.is_empty() ? nn::sinusoids(condition, settings_.nf) : fourier_(condition);
  return embed_1_(activate(settings_.nonlinearity, embed_0_(angles.to(dtype))));
}

at::Tensor Network::descend(Descent& d, const sdp::Pass& pass, const at::Tensor& embedding,
                            std::vector<at::Tensor>& skips, at::Tensor& pyramid) {
  at::Tensor h = skips.back();
  for (size_t i = 0; i < d.blocks.size(); ++i) {
    h = d.blocks[i](pass, h, embedding);
    if (!d.attentions.empty()) h = d.attentions[i](h);
    skips.push_back(h);
  }
  const bool halves = !d.halving_block.is_empty() || !d.halving.is_empty();
  if (halves) skips.push_back(h = halved(d, pass, h, embedding, pyramid));
  return h;
}

at::Tensor Network::halved(Descent& d, const sdp::Pass& pass, const at::Tensor& h, const at::Tensor& embedding,
                           at::Tensor& pyramid) {
  const at::Tensor small = d.halving.is_empty() ? d.halving_block(pass, h, embedding) : d.halving(h);
  if (d.pyramid.is_empty()) return small;
  pyramid = d.pyramid(pyramid);
  if (!d.combine.is_empty()) return d.combine(pyramid, small);
  return pyramid = joined(pyramid, small, settings_.skip_rescale);
}

at::Tensor Network::ascend(Ascent& a, const sdp::Pass& pass, at::Tensor h, const at::Tensor& embedding,
                           std::vector<at::Tensor>& skips, at::Tensor& pyramid) {
  for (Block& block : a.blocks) h = block(pass, h, embedding, popped(skips));
  if (!a.attention.is_empty()) h = a.attention(h);
  if (settings_.progressive != OutputPyramid::none) extend_output_pyramid(a, h, pyramid);
  if (!a.doubling_block.is_empty()) return a.doubling_block(pass, h, embedding);
  return a.doubling.is_empty() ? h : a.doubling(h);
}

// The residual pyramid is h itself from its second level on; the output pyramid's levels are images that add up.
void Network::extend_output_pyramid(Ascent& a, at::Tensor& h, at::Tensor& pyramid) {
  if (a.pyramid.is_empty()) {
    pyramid = normalised(a.norm, a.conv, h);
    return;
  }
  pyramid = a.pyramid(pyramid);
  if (settings_.progressive == OutputPyramid::output_skip)
    pyramid = pyramid + normalised(a.norm, a.conv, h);
  else
    h = pyramid = joined(pyramid, h, settings_.skip_rescale);
}

at::Tensor Network::normalised(torch::nn::GroupNorm& norm, torch::nn::Conv2d& conv, const at::Tensor& h) {
  return nn::conv3x3(settings_, conv, activated_norm(settings_, norm, h));
}

}  // namespace sdpipe::ncsnpp
