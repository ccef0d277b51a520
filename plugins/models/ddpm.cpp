// ddpm: the U-Net of Ho et al., "Denoising diffusion probabilistic models" (arXiv 2006.11239, Appendix B): residual
// blocks with group normalisation and a sinusoidal embedding of the condition added in each, self-attention at chosen
// resolutions. Parameters carry the names of the ddim repository (Song et al., arXiv 2010.02502).
//
//   x0_hat = x + y, or what `output` makes of the network's y (nn/meaning.hpp)
//
//   [model]
//   type = "ddpm"                # the network of CIFAR-10; ch_mult = [1, 2, 2, 2, 4] at 64 px
//   output = "epsilon"           # with process = "vp": as its published weights were trained, on the corruption
//   process = "vp"               # "scale" and the schedule "vp", path = "linear_beta"
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/silu.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <algorithm>
#include <string>
#include <vector>

#include "plugins/models/nn/attention.hpp"
#include "plugins/models/nn/checkpoint.hpp"
#include "plugins/models/nn/conv3x3.hpp"
#include "plugins/models/nn/embedding.hpp"
#include "plugins/models/nn/group_norm.hpp"
#include "plugins/models/nn/levels.hpp"
#include "plugins/models/nn/meaning.hpp"
#include "plugins/models/nn/resample.hpp"

namespace {

using namespace torch::nn;
namespace convention = sdpipe::nn;

constexpr int64_t groups = 32;

class Network;

struct Ddpm : convention::Meaning, convention::FastPaths {
  int64_t ch = 128, num_res_blocks = 2;
  std::vector<int64_t> ch_mult{1, 2, 2, 2}, attn_resolutions{16};
  double dropout = 0;
  bool resamp_with_conv = true;

  size_t levels() const { return ch_mult.size(); }
  int64_t width(size_t level) const { return ch * ch_mult[level]; }
  bool attends(int64_t pixels) const { return convention::attends_at(attn_resolutions, pixels); }
  void prepare(sdp::Call& call, const sdp::Shape& sample) const;
  std::shared_ptr<Network> build(const sdp::Shape& sample) const;
  void init(const sdp::Draw& draw, const std::string& name, at::Tensor& p) const;
};

Conv2d conv3x3(int64_t in, int64_t out) { return Conv2d(Conv2dOptions(in, out, 3).padding(1)); }
Conv2d conv1x1(int64_t in, int64_t out) { return Conv2d(Conv2dOptions(in, out, 1)); }
GroupNorm norm_of(int64_t width) { return GroupNorm(GroupNormOptions(groups, width).eps(1e-6)); }

struct BlockImpl : Module {
  BlockImpl(const Ddpm& d, int64_t in, int64_t out, uint32_t number)
      : fast(d),
        dropout(d.dropout),
        draw(number),
        norm1(register_module("norm1", norm_of(in))),
        conv1(register_module("conv1", conv3x3(in, out))),
        temb_proj(register_module("temb_proj", Linear(4 * d.ch, out))),
        norm2(register_module("norm2", norm_of(out))),
        conv2(register_module("conv2", conv3x3(out, out))) {
    if (in != out) nin_shortcut = register_module("nin_shortcut", conv1x1(in, out));
  }
  // x, or x and `skip` side by side.
  at::Tensor forward(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& embedding,
                     const at::Tensor& skip = {}) {
    const auto block = [this, &pass](const std::vector<at::Tensor>& in) {
      return run(pass, in[2].defined() ? at::cat({in[0], in[2]}, 1) : in[0], in[1]);
    };
    return convention::checkpointed(fast, *this, {x, embedding, skip}, block);
  }
  at::Tensor run(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& embedding) {
    at::Tensor h = convention::conv3x3(fast, conv1, convention::group_norm(fast, norm1, x, true));
    h = convention::group_norm(fast, norm2, h, {temb_proj(at::silu(embedding)), {}, {}}, true);
    const at::Tensor kept = sdp::dropout(pass, h, dropout, draw);
    return (nin_shortcut.is_empty() ? x : nin_shortcut(x)) + convention::conv3x3(fast, conv2, kept);
  }
  convention::FastPaths fast;
  double dropout;
  uint32_t draw;
  GroupNorm norm1;
  Conv2d conv1;
  Linear temb_proj;
  GroupNorm norm2;
  Conv2d conv2, nin_shortcut{nullptr};
};
TORCH_MODULE(Block);

// x + proj_out(attention over all pixels of norm(x)), in one head.
struct AttentionImpl : Module {
  AttentionImpl(const Ddpm& d, int64_t width)
      : fast(d),
        norm(register_module("norm", norm_of(width))),
        q(register_module("q", conv1x1(width, width))),
        k(register_module("k", conv1x1(width, width))),
        v(register_module("v", conv1x1(width, width))),
        proj_out(register_module("proj_out", conv1x1(width, width))) {}
  at::Tensor forward(const at::Tensor& x) {
    const auto block = [this](const std::vector<at::Tensor>& in) { return run(in[0]); };
    return convention::checkpointed(fast, *this, {x}, block);
  }
  at::Tensor run(const at::Tensor& x) {
    const at::Tensor h = convention::group_norm(fast, norm, x, false);
    const auto positions = [&](Conv2d& layer) { return convention::heads_of_map(layer(h), 1); };
    const at::Tensor mixed = convention::attention(fast, positions(q), positions(k), positions(v));
    return x + proj_out(convention::map_of_heads(mixed, x.size(2)));
  }
  convention::FastPaths fast;
  GroupNorm norm;
  Conv2d q, k, v, proj_out;
};
TORCH_MODULE(Attention);

// Half or twice the resolution; the convolution that halves sees one more row and column, at the bottom and right.
struct ResampleImpl : Module {
  ResampleImpl(const convention::FastPaths& k, bool halve_in, bool with_conv, int64_t width)
      : fast(k), halve(halve_in) {
    if (!with_conv) return;
    conv = register_module("conv", halve ? Conv2d(Conv2dOptions(width, width, 3).stride(2)) : conv3x3(width, width));
  }
  at::Tensor forward(const at::Tensor& x) {
    if (halve) return conv.is_empty() ? convention::halved(x) : conv(at::constant_pad_nd(x, {0, 1, 0, 1}));
    const at::Tensor wide = convention::doubled(x);
    return conv.is_empty() ? wide : convention::conv3x3(fast, conv, wide);
  }
  convention::FastPaths fast;
  bool halve;
  Conv2d conv{nullptr};
};
TORCH_MODULE(Resample);

// The blocks of one resolution in one direction, each with its attention if any, and the way to the next resolution.
struct LevelImpl : Module {
  LevelImpl() : block(register_module("block", ModuleList())), attn(register_module("attn", ModuleList())) {}
  void add(const Ddpm& d, int64_t in, int64_t out, bool attends, uint32_t& number) {
    block->push_back(Block(d, in, out, number++));
    if (attends) attn->push_back(Attention(d, out));
  }
  void add_resampling(const Ddpm& d, bool halve, int64_t width) {
    resample = register_module(halve ? "downsample" : "upsample", Resample(d, halve, d.resamp_with_conv, width));
  }
  at::Tensor run(size_t i, const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& embedding,
                 const at::Tensor& skip = {}) {
    const at::Tensor h = block[i]->as<Block>()->forward(pass, x, embedding, skip);
    return attn->is_empty() ? h : attn[i]->as<Attention>()->forward(h);
  }
  ModuleList block, attn;
  Resample resample{nullptr};
};
TORCH_MODULE(Level);

struct EmbeddingImpl : Module {
  explicit EmbeddingImpl(int64_t width) : dense(register_module("dense", ModuleList())) {
    dense->push_back(Linear(width, 4 * width));
    dense->push_back(Linear(4 * width, 4 * width));
  }
  at::Tensor forward(const at::Tensor& angles) {
    return dense[1]->as<Linear>()->forward(at::silu(dense[0]->as<Linear>()->forward(angles)));
  }
  ModuleList dense;
};
TORCH_MODULE(Embedding);

struct MiddleImpl : Module {
  MiddleImpl(const Ddpm& d, int64_t width, uint32_t& number)
      : block_1(register_module("block_1", Block(d, width, width, number))),
        attn_1(register_module("attn_1", Attention(d, width))),
        block_2(register_module("block_2", Block(d, width, width, number + 1))) {
    number += 2;
  }
  at::Tensor forward(const sdp::Pass& pass, const at::Tensor& h, const at::Tensor& embedding) {
    return block_2(pass, attn_1(block_1(pass, h, embedding)), embedding);
  }
  Block block_1;
  Attention attn_1;
  Block block_2;
};
TORCH_MODULE(Middle);

class Network : public Module {
 public:
  Network(const Ddpm& d, int64_t channels, int64_t pixels)
      : settings_(d),
        temb_(register_module("temb", Embedding(d.ch))),
        conv_in_(register_module("conv_in", conv3x3(channels, d.ch))),
        down_(register_module("down", ModuleList())) {
    uint32_t number = 0;
    std::vector<int64_t> skips{d.ch};
    for (size_t l = 0; l < d.levels(); ++l) add_down(l, d.attends(pixels >> l), skips, number);
    mid_ = register_module("mid", Middle(d, d.width(d.levels() - 1), number));
    up_ = register_module("up", ModuleList());
    std::vector<Level> up(d.levels());
    for (size_t l = d.levels(); l-- > 0;) up[l] = up_level(l, d.attends(pixels >> l), skips, number);
    for (const Level& level : up) up_->push_back(level);
    norm_out_ = register_module("norm_out", norm_of(d.width(0)));
    conv_out_ = register_module("conv_out", conv3x3(d.width(0), channels));
  }

  at::Tensor forward(const sdp::Pass& pass, const at::Tensor& x) {
    const convention::Seen seen = convention::seen_by_network(settings_, pass, pass.x);
    const at::Tensor condition = convention::condition_of(settings_, pass, seen.sigma);
    const at::Tensor embedding = temb_(convention::sinusoids(condition, settings_.ch).to(x.scalar_type()));
    const at::Tensor y = evaluate(pass, seen.x.to(x.scalar_type()), embedding);
    return convention::residual_of(settings_, pass, seen, y.to(pass.x.scalar_type()));
  }

 private:
  void add_down(size_t l, bool attends, std::vector<int64_t>& skips, uint32_t& number) {
    Level level;
    for (int64_t i = 0; i < settings_.num_res_blocks; ++i) {
      level->add(settings_, skips.back(), settings_.width(l), attends, number);
      skips.push_back(settings_.width(l));
    }
    if (l + 1 < settings_.levels()) {
      level->add_resampling(settings_, true, settings_.width(l));
      skips.push_back(settings_.width(l));
    }
    down_->push_back(level);
  }

  Level up_level(size_t l, bool attends, std::vector<int64_t>& skips, uint32_t& number) const {
    Level level;
    int64_t width = settings_.width(std::min(l + 1, settings_.levels() - 1));
    for (int64_t i = 0; i <= settings_.num_res_blocks; ++i, skips.pop_back()) {
      level->add(settings_, width + skips.back(), settings_.width(l), attends, number);
      width = settings_.width(l);
    }
    if (l > 0) level->add_resampling(settings_, false, width);
    return level;
  }

  at::Tensor evaluate(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& embedding) {
    std::vector<at::Tensor> skips{conv_in_(convention::arranged(settings_, x))};
    for (const auto& module : *down_) {
      LevelImpl& level = *module->as<Level>();
      for (size_t i = 0; i < level.block->size(); ++i) skips.push_back(level.run(i, pass, skips.back(), embedding));
      if (!level.resample.is_empty()) skips.push_back(level.resample(skips.back()));
    }
    at::Tensor h = mid_(pass, skips.back(), embedding);
    for (size_t l = settings_.levels(); l-- > 0;) {
      LevelImpl& level = *up_[l]->as<Level>();
      for (size_t i = 0; i < level.block->size(); ++i, skips.pop_back())
        h = level.run(i, pass, h, embedding, skips.back());
      if (!level.resample.is_empty()) h = level.resample(h);
    }
    return convention::conv3x3(settings_, conv_out_, convention::group_norm(settings_, norm_out_, h, true));
  }

  Ddpm settings_;
  Embedding temb_;
  Conv2d conv_in_;
  ModuleList down_;
  Middle mid_{nullptr};
  ModuleList up_{nullptr};
  GroupNorm norm_out_{nullptr};
  Conv2d conv_out_{nullptr};
};

void Ddpm::prepare(sdp::Call& call, const sdp::Shape& sample) const {
  if (sample.size() != 3) call.fail("ddpm works on images, samples of 3 axes (channel, height, width)");
  if (ch % groups != 0) call.fail("must be a multiple of 32, the number of groups of each normalisation", "ch");
  if (ch_mult.empty() || levels() > 16) call.fail("needs 1 to 16 entries, one for each resolution", "ch_mult");
  check_meaning(call);
  convention::check_halvings(call, sample, levels(), "multipliers", "ch_mult");
}

std::shared_ptr<Network> Ddpm::build(const sdp::Shape& sample) const {
  return std::make_shared<Network>(*this, sample[0], sample[2]);
}

// The last layer of every residual branch starts at zero, as in Ho et al.'s own: blocks are the identity, and y = 0.
void Ddpm::init(const sdp::Draw& draw, const std::string& name, at::Tensor& p) const {
  for (const char* last : {"conv2.weight", "proj_out.weight", "conv_out.weight"})
    if (name.ends_with(last)) return void(p.zero_());
  sdp::initial_value(draw, name, p);
}

}  // namespace

SDP_PLUGIN("Apache-2.0",
           convention::with_fast_paths(
               convention::described(sdp::torch_model<Ddpm>("ddpm", "1.0.0", "The U-Net of DDPM, with its parameters")))
               .integer("ch", &Ddpm::ch, sdp::between(32, 4096), "", "width of the first level")
               .integers("ch_mult", &Ddpm::ch_mult, sdp::between(1, 64), "",
                         "width of each level in units of ch; each level after the first halves the image")
               .integer("num_res_blocks", &Ddpm::num_res_blocks, sdp::between(1, 64), "",
                        "residual blocks of a level on the way down; one more on the way up")
               .integers("attn_resolutions", &Ddpm::attn_resolutions, sdp::at_least(1), "px",
                         "self-attention at levels of these widths, and always at the middle")
               .real("dropout", &Ddpm::dropout, sdp::below_from(0, 1), "", "probability, in every block")
               .flag("resamp_with_conv", &Ddpm::resamp_with_conv,
                     "a convolution wherever the resolution changes, instead of means and nearest neighbours")
               .dtypes(SDP_DTYPE_BF16)
               .example("ch = 32\nch_mult = [1, 1]\nnum_res_blocks = 1\nattn_resolutions = [4]"))
