// Settings of the network under guided-diffusion's names, and its layers under the names that they have there.
#pragma once

#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <string>
#include <utility>
#include <vector>

#include "plugins/models/nn/attention.hpp"
#include "plugins/models/nn/checkpoint.hpp"
#include "plugins/models/nn/conv3x3.hpp"
#include "plugins/models/nn/group_norm.hpp"
#include "plugins/models/nn/levels.hpp"
#include "plugins/models/nn/meaning.hpp"
#include "plugins/models/nn/resample.hpp"

namespace sdpipe::adm {

using torch::nn::Conv1d;
using torch::nn::Conv1dOptions;
using torch::nn::Conv2d;
using torch::nn::Conv2dOptions;
using torch::nn::GroupNorm;
using torch::nn::GroupNormOptions;
using torch::nn::Linear;
using torch::nn::Module;

constexpr int64_t groups = 32;

class Network;

struct Settings : nn::Meaning, nn::FastPaths {
  int64_t num_channels = 128, num_res_blocks = 2, num_heads = 4, num_head_channels = -1, num_heads_upsample = -1,
          num_classes = 1000;
  std::vector<double> channel_mult{1, 2, 3, 4};
  std::vector<int64_t> attention_resolutions{16, 8};
  double dropout = 0;
  bool conv_resample = true, use_scale_shift_norm = true, resblock_updown = false, use_new_attention_order = false,
       learn_sigma = false, class_cond = false;

  size_t levels() const { return channel_mult.size(); }
  int64_t width(size_t level) const {
    return static_cast<int64_t>(channel_mult[level] * static_cast<double>(num_channels));
  }
  int64_t heads(int64_t width, bool upwards) const {
    if (num_head_channels > 0) return width / num_head_channels;
    return upwards && num_heads_upsample > 0 ? num_heads_upsample : num_heads;
  }
  bool attends(int64_t pixels) const { return nn::attends_at(attention_resolutions, pixels); }
  void prepare(sdp::Call& call, const sdp::Shape& sample) const;
  std::shared_ptr<Network> build(const sdp::Shape& sample) const;
  void init(const sdp::Draw& draw, const std::string& name, at::Tensor& p) const;
};

inline Conv2d square(int64_t in, int64_t out, int64_t stride = 1) {
  return Conv2d(Conv2dOptions(in, out, 3).stride(stride).padding(1));
}
inline Conv1d pointwise(int64_t in, int64_t out) { return Conv1d(Conv1dOptions(in, out, 1)); }
inline GroupNorm norm_of(int64_t width) { return GroupNorm(GroupNormOptions(groups, width).eps(1e-5)); }

// Layers under their places in guided-diffusion's sequences, where layers without parameters count too.
using Places = std::vector<std::pair<const char*, std::shared_ptr<Module>>>;
inline std::shared_ptr<Module> sequence(const Places& places) {
  const auto list = std::make_shared<Module>();
  for (const auto& [place, layer] : places) list->register_module(place, layer);
  return list;
}

// Layers of a stage. `embedding` has been through SiLU; `beside`, if defined, joins x's channels in a block.
struct Layer : Module {
  virtual at::Tensor forward(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& embedding,
                             const at::Tensor& beside) = 0;
};

enum class Resampling { none, halve, twice };

inline at::Tensor resampled(Resampling how, const at::Tensor& x) {
  if (how == Resampling::none) return x;
  return how == Resampling::halve ? nn::halved(x) : nn::doubled(x);
}

struct Block : Layer {
  Block(const Settings& a, int64_t in, int64_t out, Resampling resampling_in, uint32_t number)
      : fast(a),
        scales(a.use_scale_shift_norm),
        dropout(a.dropout),
        draw(number),
        resampling(resampling_in),
        norm1(norm_of(in)),
        conv1(square(in, out)),
        position(Linear(4 * a.num_channels, scales ? 2 * out : out)),
        norm2(norm_of(out)),
        conv2(square(out, out)) {
    register_module("in_layers", sequence({{"0", norm1.ptr()}, {"2", conv1.ptr()}}));
    register_module("emb_layers", sequence({{"1", position.ptr()}}));
    register_module("out_layers", sequence({{"0", norm2.ptr()}, {"3", conv2.ptr()}}));
    if (in != out) skip = register_module("skip_connection", Conv2d(Conv2dOptions(in, out, 1)));
  }

  at::Tensor forward(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& embedding,
                     const at::Tensor& beside) override {
    const auto block = [this, &pass](const std::vector<at::Tensor>& in) {
      return run(pass, in[2].defined() ? at::cat({in[0], in[2]}, 1) : in[0], in[1]);
    };
    return nn::checkpointed(fast, *this, {x, embedding, beside}, block);
  }

  at::Tensor run(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& embedding) {
    const at::Tensor h = nn::conv3x3(fast, conv1, resampled(resampling, nn::group_norm(fast, norm1, x, true)));
    const at::Tensor told = nn::group_norm(fast, norm2, h, modulation(position(embedding)), true);
    const at::Tensor rest = resampled(resampling, x);
    const at::Tensor branch = nn::conv3x3(fast, conv2, sdp::dropout(pass, told, dropout, draw));
    return (skip.is_empty() ? rest : skip(rest)) + branch;
  }

  nn::Modulation modulation(const at::Tensor& e) const {
    if (!scales) return {e, {}, {}};
    const std::vector<at::Tensor> halves = e.chunk(2, 1);
    return {{}, halves[0], halves[1]};
  }

  nn::FastPaths fast;
  bool scales;
  double dropout;
  uint32_t draw;
  Resampling resampling;
  GroupNorm norm1;
  Conv2d conv1;
  Linear position;
  GroupNorm norm2;
  Conv2d conv2, skip{nullptr};
};

// x + proj_out(attention over all pixels of norm(x)). The rows of qkv are ordered by head, then q, k and v; in the new
// order by q, k and v, then by head.
struct Attention : Layer {
  Attention(const Settings& a, int64_t width, bool upwards)
      : fast(a),
        heads(a.heads(width, upwards)),
        head_first(!a.use_new_attention_order),
        norm(register_module("norm", norm_of(width))),
        qkv(register_module("qkv", pointwise(width, 3 * width))),
        proj_out(register_module("proj_out", pointwise(width, width))) {}

  at::Tensor forward(const sdp::Pass&, const at::Tensor& x, const at::Tensor&, const at::Tensor&) override {
    return nn::checkpointed(fast, *this, {x}, [this](const std::vector<at::Tensor>& in) { return run(in[0]); });
  }

  at::Tensor run(const at::Tensor& x) {
    const int64_t depth = x.size(1) / heads, pixels = x.size(2) * x.size(3);
    const at::Tensor rows = through(qkv, nn::group_norm(fast, norm, x, false));
    const at::Tensor h = head_first ? rows.reshape({x.size(0), heads, 3, depth, pixels}).transpose(1, 2)
                                    : rows.reshape({x.size(0), 3, heads, depth, pixels});
    const auto part = [&](int64_t i) { return h.select(1, i).transpose(-1, -2); };
    const at::Tensor mixed = nn::attention(fast, part(0), part(1), part(2));
    return x + through(proj_out, nn::map_of_heads(mixed, x.size(2)));
  }

  static at::Tensor through(const Conv1d& layer, const at::Tensor& x) {
    return at::conv2d(x, layer->weight.unsqueeze(-1), layer->bias);
  }

  nn::FastPaths fast;
  int64_t heads;
  bool head_first;
  GroupNorm norm;
  Conv1d qkv, proj_out;
};

struct Resample : Layer {
  Resample(const Settings& a, bool halve_in, int64_t width) : fast(a), halve(halve_in) {
    if (!a.conv_resample) return;
    conv = register_module(halve ? "op" : "conv", square(width, width, halve ? 2 : 1));
  }
  at::Tensor forward(const sdp::Pass&, const at::Tensor& x, const at::Tensor&, const at::Tensor&) override {
    if (halve) return conv.is_empty() ? nn::halved(x) : conv(x);
    const at::Tensor wide = nn::doubled(x);
    return conv.is_empty() ? wide : nn::conv3x3(fast, conv, wide);
  }
  nn::FastPaths fast;
  bool halve;
  Conv2d conv{nullptr};
};

// What stands between two skip connections.
struct Stage : Module {
  template <class L, class... Args>
  void add(const Args&... args) {
    layers.push_back(register_module(std::to_string(layers.size()), std::make_shared<L>(args...)));
  }
  // `beside` joins h's channels in the first layer.
  at::Tensor forward(const sdp::Pass& pass, at::Tensor h, const at::Tensor& embedding, at::Tensor beside = {}) {
    for (const auto& layer : layers) {
      h = layer->forward(pass, h, embedding, beside);
      beside.reset();
    }
    return h;
  }
  std::vector<std::shared_ptr<Layer>> layers;
};

}  // namespace sdpipe::adm
