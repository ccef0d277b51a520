// unet: residual U-Net with group normalisation, SiLU, self-attention and the position on the path fed to every
// block as scale and shift. y = f(x, position), x0_hat = x + y.
//
// Blocks as in Ho et al., "Denoising diffusion probabilistic models" (arXiv 2006.11239), scale and shift as in
// Dhariwal and Nichol (arXiv 2105.05233). With patch > 1 the image is folded into channels before the first
// convolution and unfolded behind the last, which saves the costly full resolution.
//
//   stem -> [blocks, halve] per level -> block, attention, block -> [blocks with skips, double] per level -> output
#include <ATen/ops/cat.h>
#include <ATen/ops/log.h>
#include <ATen/ops/log1p.h>
#include <ATen/ops/pixel_shuffle.h>
#include <ATen/ops/pixel_unshuffle.h>
#include <ATen/ops/silu.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/abi/torch.hpp"
#include "plugins/models/nn/attention.hpp"
#include "plugins/models/nn/checkpoint.hpp"
#include "plugins/models/nn/conv3x3.hpp"
#include "plugins/models/nn/embedding.hpp"
#include "plugins/models/nn/group_norm.hpp"
#include "plugins/models/nn/resample.hpp"

namespace {

namespace nn = torch::nn;

enum class Condition { t, sigma, level };

class UnetNet;

struct Unet : sdpipe::nn::FastPaths {
  int64_t channels = 32, blocks = 1, patch = 1, groups = 8;
  std::vector<int64_t> multipliers{1, 2}, attention;
  bool middle_attention = true;
  double dropout = 0;
  Condition condition = Condition::t;

  int64_t width(size_t level) const { return channels * multipliers[level]; }
  size_t levels() const { return multipliers.size(); }
  bool attends(size_t level) const {
    return std::find(attention.begin(), attention.end(), static_cast<int64_t>(level)) != attention.end();
  }

  void prepare(sdp::Call& call, const sdp::Shape& sample) const;
  std::shared_ptr<UnetNet> build(const sdp::Shape& sample) const;
  void init(const sdp::Draw& draw, const std::string& name, at::Tensor& p) const;
};

nn::Conv2d conv3x3(int64_t in, int64_t out, int64_t stride = 1) {
  return nn::Conv2d(nn::Conv2dOptions(in, out, 3).stride(stride).padding(1));
}

nn::GroupNorm norm_of(const Unet& u, int64_t width) { return nn::GroupNorm(nn::GroupNormOptions(u.groups, width)); }

// x + conv(dropout(silu(scale and shift(norm(conv(silu(norm(x)))))))), with a 1x1 convolution of x where widths differ.
struct BlockImpl : nn::Module {
  BlockImpl(const Unet& u, int64_t in, int64_t out, uint32_t number)
      : fast(u),
        dropout(u.dropout),
        draw(number),
        norm1(register_module("norm1", norm_of(u, in))),
        conv1(register_module("conv1", conv3x3(in, out))),
        position(register_module("position", nn::Linear(4 * u.channels, 2 * out))),
        norm2(register_module("norm2", norm_of(u, out))),
        conv2(register_module("conv2", conv3x3(out, out))) {
    if (in != out) shortcut = register_module("shortcut", nn::Conv2d(nn::Conv2dOptions(in, out, 1)));
  }

  // x, or x and `skip` side by side.
  at::Tensor forward(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& embedding, const at::Tensor& skip) {
    const auto block = [this, &pass](const std::vector<at::Tensor>& in) {
      return run(pass, in[2].defined() ? at::cat({in[0], in[2]}, 1) : in[0], in[1]);
    };
    return sdpipe::nn::checkpointed(fast, *this, {x, embedding, skip}, block);
  }

  at::Tensor run(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& embedding) {
    at::Tensor h = sdpipe::nn::conv3x3(fast, conv1, sdpipe::nn::group_norm(fast, norm1, x, true));
    const std::vector<at::Tensor> s = position(embedding).chunk(2, 1);
    h = sdpipe::nn::group_norm(fast, norm2, h, {{}, s[0], s[1]}, true);
    h = sdpipe::nn::conv3x3(fast, conv2, sdp::dropout(pass, h, dropout, draw));
    return h.add_(shortcut.is_empty() ? x : shortcut(x));
  }

  sdpipe::nn::FastPaths fast;
  double dropout;
  uint32_t draw;
  nn::GroupNorm norm1;
  nn::Conv2d conv1;
  nn::Linear position;
  nn::GroupNorm norm2;
  nn::Conv2d conv2;
  nn::Conv2d shortcut{nullptr};
};
TORCH_MODULE(Block);

// x + project(attention over all pixels of norm(x)), in heads of 32 channels where that divides the width.
struct AttentionImpl : nn::Module {
  AttentionImpl(const Unet& u, int64_t width)
      : fast(u),
        heads(width % 32 == 0 ? width / 32 : 1),
        norm(register_module("norm", norm_of(u, width))),
        qkv(register_module("qkv", nn::Conv2d(nn::Conv2dOptions(width, 3 * width, 1)))),
        project(register_module("project", nn::Conv2d(nn::Conv2dOptions(width, width, 1)))) {}

  at::Tensor forward(const at::Tensor& x) {
    const auto block = [this](const std::vector<at::Tensor>& in) { return run(in[0]); };
    return sdpipe::nn::checkpointed(fast, *this, {x}, block);
  }

  at::Tensor run(const at::Tensor& x) {
    const at::Tensor h = sdpipe::nn::heads_of_map(qkv(sdpipe::nn::group_norm(fast, norm, x, false)), 3 * heads);
    const std::vector<at::Tensor> each = h.chunk(3, 1);
    const at::Tensor mixed = sdpipe::nn::attention(fast, each[0], each[1], each[2]);
    return x + project(sdpipe::nn::map_of_heads(mixed, x.size(2)));
  }

  sdpipe::nn::FastPaths fast;
  int64_t heads;
  nn::GroupNorm norm;
  nn::Conv2d qkv, project;
};
TORCH_MODULE(Attention);

// The blocks of one resolution, each with its attention if any, and the convolution to the next resolution.
struct LevelImpl : nn::Module {
  LevelImpl() : blocks(register_module("blocks", nn::ModuleList())) {}

  void add_block(const Unet& u, int64_t in, int64_t out, bool attends, uint32_t& number) {
    blocks->push_back(Block(u, in, out, number++));
    if (attends)
      attentions.push_back(register_module("attention" + std::to_string(attentions.size()), Attention(u, out)));
  }
  void add_resampling(nn::Conv2d conv) { resample = register_module("resample", std::move(conv)); }

  at::Tensor run(size_t i, const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& embedding,
                 const at::Tensor& skip = {}) {
    const at::Tensor h = blocks[i]->as<Block>()->forward(pass, x, embedding, skip);
    return i < attentions.size() ? attentions[i](h) : h;
  }

  nn::ModuleList blocks;
  std::vector<Attention> attentions;
  nn::Conv2d resample{nullptr};
};
TORCH_MODULE(Level);

// In a unit in which 0 to about 1000 covers the path.
at::Tensor position_of(const sdp::Pass& pass, Condition condition) {
  constexpr double sigma_low = 1e-3, sigma_high = 1e3;  // mapped to 0 and 1000
  if (condition == Condition::t) return pass.t * 1000;
  if (condition == Condition::level) return pass.level.log1p() * 200;  // 480 at 10 px
  return (pass.sigma.clamp_min(sigma_low) / sigma_low).log() * (1000 / std::log(sigma_high / sigma_low));
}

class UnetNet : public nn::Module {
 public:
  UnetNet(const Unet& u, int64_t image_channels)
      : settings_(u),
        embed1_(register_module("embed1", nn::Linear(u.channels, 4 * u.channels))),
        embed2_(register_module("embed2", nn::Linear(4 * u.channels, 4 * u.channels))),
        stem_(register_module("stem", conv3x3(image_channels * u.patch * u.patch, u.width(0)))),
        down_(register_module("down", nn::ModuleList())),
        middle_(register_module("middle", Level())),
        up_(register_module("up", nn::ModuleList())),
        norm_(register_module("norm", norm_of(u, u.width(0)))),
        output_(register_module("output", conv3x3(u.width(0), image_channels * u.patch * u.patch))) {
    uint32_t number = 0;
    for (size_t l = 0; l < u.levels(); ++l) down_->push_back(down_level(l, number));
    const int64_t deepest = u.width(u.levels() - 1);
    middle_->add_block(u, deepest, deepest, u.middle_attention, number);
    middle_->add_block(u, deepest, deepest, false, number);
    for (size_t l = u.levels(); l-- > 0;) up_->push_back(up_level(l, number));
  }

  at::Tensor forward(const sdp::Pass& pass, const at::Tensor& x) {
    const at::Tensor position = position_of(pass, settings_.condition);
    const at::Tensor angle = sdpipe::nn::cosines_and_sines(position, settings_.channels).to(x.scalar_type());
    const at::Tensor e = at::silu(embed2_(at::silu(embed1_(angle))));
    std::vector<at::Tensor> skips;
    at::Tensor h = sdpipe::nn::arranged(settings_, settings_.patch == 1 ? x : at::pixel_unshuffle(x, settings_.patch));
    h = stem_(h);
    for (const auto& level : *down_) h = descend(*level->as<Level>(), pass, h, e, skips);
    h = middle_->run(0, pass, h, e);
    h = middle_->run(1, pass, h, e);
    for (const auto& level : *up_) h = ascend(*level->as<Level>(), pass, h, e, skips);
    h = sdpipe::nn::conv3x3(settings_, output_, sdpipe::nn::group_norm(settings_, norm_, h, true));
    return settings_.patch == 1 ? h : at::pixel_shuffle(h, settings_.patch);
  }

 private:
  Level down_level(size_t l, uint32_t& number) const {
    const Unet& u = settings_;
    Level level;
    for (int64_t i = 0; i < u.blocks; ++i)
      level->add_block(u, i == 0 && l > 0 ? u.width(l - 1) : u.width(l), u.width(l), u.attends(l), number);
    if (l + 1 < u.levels()) level->add_resampling(conv3x3(u.width(l), u.width(l), 2));
    return level;
  }

  Level up_level(size_t l, uint32_t& number) const {
    const Unet& u = settings_;
    Level level;
    for (int64_t i = 0; i < u.blocks; ++i) level->add_block(u, 2 * u.width(l), u.width(l), u.attends(l), number);
    if (l > 0) level->add_resampling(conv3x3(u.width(l), u.width(l - 1)));
    return level;
  }

  static at::Tensor descend(LevelImpl& level, const sdp::Pass& pass, at::Tensor h, const at::Tensor& e,
                            std::vector<at::Tensor>& skips) {
    for (size_t i = 0; i < level.blocks->size(); ++i) skips.push_back(h = level.run(i, pass, h, e));
    return level.resample.is_empty() ? h : level.resample(h);
  }

  at::Tensor ascend(LevelImpl& level, const sdp::Pass& pass, at::Tensor h, const at::Tensor& e,
                    std::vector<at::Tensor>& skips) const {
    for (size_t i = 0; i < level.blocks->size(); ++i, skips.pop_back()) h = level.run(i, pass, h, e, skips.back());
    if (level.resample.is_empty()) return h;
    return sdpipe::nn::conv3x3(settings_, level.resample, sdpipe::nn::doubled(h));
  }

  Unet settings_;
  nn::Linear embed1_, embed2_;
  nn::Conv2d stem_;
  nn::ModuleList down_;
  Level middle_;
  nn::ModuleList up_;
  nn::GroupNorm norm_;
  nn::Conv2d output_;
};

std::string text(int64_t n) { return std::to_string(n); }

void check_size(sdp::Call& call, const Unet& u, const sdp::Shape& sample) {
  const int64_t levels = static_cast<int64_t>(u.levels()), factor = u.patch << (levels - 1);
  if (sample[1] % factor == 0 && sample[2] % factor == 0) return;
  const bool by_patch = sample[1] % u.patch != 0 || sample[2] % u.patch != 0;
  call.fail("images are " + text(sample[1]) + " x " + text(sample[2]) +
                " (height x width), but both must be divisible by " + text(factor) + ": patch " + text(u.patch) +
                ", doubled for each of the " + text(levels) +
                " multipliers but the first; resize the images, or use another patch or fewer multipliers",
            by_patch ? "patch" : "multipliers");
}

void Unet::prepare(sdp::Call& call, const sdp::Shape& sample) const {
  if (sample.size() != 3) call.fail("unet works on images, samples of 3 axes (channel, height, width)");
  if (channels % 2 != 0) call.fail("must be even: the embedding has as many sines as cosines", "channels");
  if (multipliers.empty() || levels() > 16) call.fail("needs 1 to 16 entries, one for each resolution", "multipliers");
  for (size_t l = 0; l < levels(); ++l)
    if (width(l) % groups != 0)
      call.fail("the width " + text(width(l)) + " of level " + text(static_cast<int64_t>(l)) +
                    " (channels * multiplier) is not divisible by " + text(groups) + " groups",
                "groups");
  for (const int64_t l : attention)
    if (l >= static_cast<int64_t>(levels()))
      call.fail("there is no level " + text(l) + "; levels are 0 to " + text(levels() - 1), "attention");
  check_size(call, *this, sample);
}

std::shared_ptr<UnetNet> Unet::build(const sdp::Shape& sample) const {
  return std::make_shared<UnetNet>(*this, sample[0]);
}

// The last layer of every residual branch starts at zero: blocks are the identity, and y = 0.
void Unet::init(const sdp::Draw& draw, const std::string& name, at::Tensor& p) const {
  for (const char* last : {"conv2.weight", "project.weight", "output.weight"})
    if (name.ends_with(last)) return void(p.zero_());
  sdp::initial_value(draw, name, p);
}

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdpipe::nn::with_fast_paths(sdp::torch_model<Unet>("unet", "1.0.0", "Residual U-Net with attention"))
               .integer("channels", &Unet::channels, sdp::between(2, 4096), "", "width of the first level")
               .integers("multipliers", &Unet::multipliers, sdp::between(1, 64), "",
                         "width of each level in units of channels; each level after the first halves the image")
               .integer("blocks", &Unet::blocks, sdp::between(1, 64), "",
                        "residual blocks of a level, in each direction")
               .integer("patch", &Unet::patch, sdp::between(1, 1024), "px", "side of the squares folded into channels")
               .integers("attention", &Unet::attention, sdp::at_least(0), "", "levels with self-attention, from 0")
               .flag("middle_attention", &Unet::middle_attention, "self-attention at the deepest level's middle")
               .integer("groups", &Unet::groups, sdp::between(1, 4096), "", "groups of each normalisation")
               .real("dropout", &Unet::dropout, sdp::below_from(0, 1), "", "probability, in every residual block")
               .choice("condition", &Unet::condition, {"t", "sigma", "level"},
                       "what the network is told of the path: t, log sigma (from 1e-3 to 1e3) or log(1 + level)")
               .dtypes(SDP_DTYPE_BF16)
               .example("channels = 8\nmultipliers = [1, 2]\ngroups = 4"))
