// unet2d: diffusers' UNet2DModel (github.com/huggingface/diffusers), the U-Net of Ho et al. (arXiv 2006.11239) with the
// additions of Song et al. (arXiv 2011.13456) and Dhariwal and Nichol (arXiv 2105.05233). Settings carry the names of
// its config.json and parameters those of its state, so that a folder of diffusers loads as it is; lists of block types
// are one string, and what is null there is 0 or "none" here.
//
//   x0_hat = x + y, or what `output` makes of the network's y (nn/meaning.hpp)
//
//   [model]
//   type = "unet2d"              # google/ddpm-cifar10-32
//   block_out_channels = [128, 256, 256, 256]
//   down_block_types = "DownBlock2D, AttnDownBlock2D, DownBlock2D, DownBlock2D"
//   up_block_types = "UpBlock2D, UpBlock2D, AttnUpBlock2D, UpBlock2D"
//   attention_head_dim = 0
//   flip_sin_to_cos = false
//   freq_shift = 1
//   downsample_padding = 0
//   norm_eps = 1e-6
//   output = "epsilon"           # with process = "vp": as the published weights were trained, on the corruption
//   process = "vp"               # "scale" and the schedule "vp", path = "linear_beta"
#include <algorithm>
#include <string_view>

#include "plugins/models/unet2d/network.hpp"

namespace sdpipe::unet2d {

namespace {

constexpr BlockType known[] = {
    {"DownBlock2D", "UpBlock2D"},
    {"AttnDownBlock2D", "AttnUpBlock2D", true, Resampler::as_set},
    {"ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D", false, Resampler::resnet},
    {"SkipDownBlock2D", "SkipUpBlock2D", false, Resampler::resnet, true},
    {"AttnSkipDownBlock2D", "AttnSkipUpBlock2D", true, Resampler::resnet, true},
};

std::string text(size_t n) { return std::to_string(n); }
std::string text(int64_t n) { return std::to_string(n); }

using Side = const char* BlockType::*;

BlockType block_type(const sdp::Call& call, const char* key, Side side, std::string_view name) {
  const std::string_view plain = name.starts_with("UNetRes") ? name.substr(7) : name;  // old configurations say so
  std::string all;
  for (const BlockType& type : known) {
    if (plain == type.*side) return type;
    all += (all.empty() ? "" : ", ") + std::string(type.*side);
  }
  call.fail("\"" + std::string(name) + "\" is not supported; supported are " + all, key);
}

std::vector<BlockType> block_types(const sdp::Call& call, const char* key, Side side, std::string_view list) {
  constexpr std::string_view separators = ", ";
  std::vector<BlockType> types;
  for (size_t from = list.find_first_not_of(separators); from != std::string_view::npos;) {
    const size_t to = std::min(list.find_first_of(separators, from), list.size());
    types.push_back(block_type(call, key, side, list.substr(from, to - from)));
    from = list.find_first_not_of(separators, to);
  }
  return types;
}

void check_types(const sdp::Call& call, const char* key, const std::vector<BlockType>& types, size_t levels) {
  if (types.size() != levels)
    call.fail("names " + text(types.size()) + " block types, but block_out_channels has " + text(levels) +
                  " entries: one of each for every resolution",
              key);
}

// The pyramid of images goes from the full resolution down and back up to it. Where it meets features it has channels
// of its own, but the last block of each way changes no resolution and meets none.
void check_skips(const sdp::Call& call, const Settings& s, int64_t channels) {
  const auto skips = [](const BlockType& type) { return type.skip; };
  const auto keeps = [](const BlockType& type) { return !type.skip; };
  const auto down_end = s.down.end() - 1, up_end = s.up.end() - 1;
  const bool meets = std::any_of(s.down.begin(), down_end, skips) || std::any_of(s.up.begin(), up_end, skips);
  const bool every = std::all_of(s.down.begin(), s.down.end(), skips) && std::all_of(s.up.begin(), s.up.end(), skips);
  if (!std::is_partitioned(s.down.begin(), down_end, skips))
    call.fail(
        "block types with Skip must come first, but for the last block: their images start at the full resolution",
        "down_block_types");
  if (!std::is_partitioned(s.up.begin(), s.up.end(), keeps))
    call.fail("block types with Skip must come last: their images end at the full resolution", "up_block_types");
  if (meets && (channels != 3 || s.learn_sigma))
    call.fail(
        "block types with Skip that change the resolution are for images of 3 channels in and out, but these have " +
            text(channels) + " in and " + text(s.learn_sigma ? 2 * channels : channels) + " out",
        "down_block_types");
  if (!every && s.norm_num_groups == 0)
    call.fail("0 (null in config.json) is for block types with Skip, which have their own numbers of groups",
              "norm_num_groups");
}

void check_time(const sdp::Call& call, const Settings& s) {
  const bool learned = s.time_embedding_type == TimeEmbedding::learned;
  const double last = static_cast<double>(s.num_train_timesteps - 1);
  if (learned && s.num_train_timesteps == 0)
    call.fail("must be given with time_embedding_type = \"learned\": it has one entry for each timestep",
              "num_train_timesteps");
  if (learned && s.condition == nn::Condition::t && s.condition_scale > last)
    call.fail("goes beyond the last of the " + text(s.num_train_timesteps) +
                  " entries that num_train_timesteps gives to the table; set it to " + text(s.num_train_timesteps - 1),
              "condition_scale");
  if (s.time_embedding_type == TimeEmbedding::positional && s.block_out_channels[0] / 2 <= s.freq_shift)
    call.fail("must be below half of the first entry of block_out_channels, the number of frequencies", "freq_shift");
}

}  // namespace

void Settings::prepare(sdp::Call& call, const sdp::Shape& sample) {
  if (sample.size() != 3) call.fail("unet2d works on images, samples of 3 axes (channel, height, width)");
  if (block_out_channels.empty() || levels() > 16)
    call.fail("needs 1 to 16 entries, one for each resolution", "block_out_channels");
  down = block_types(call, "down_block_types", &BlockType::down, down_block_types);
  up = block_types(call, "up_block_types", &BlockType::up, up_block_types);
  check_types(call, "down_block_types", down, levels());
  check_types(call, "up_block_types", up, levels());
  check_skips(call, *this, sample[0]);
  check_time(call, *this);
  check_meaning(call);
  nn::check_halvings(call, sample, levels(), "entries", "block_out_channels");
}

std::shared_ptr<Network> Settings::build(const sdp::Shape& sample) const {
  return std::make_shared<Network>(*this, sample[0]);
}

// The last layer of every residual branch starts at zero, as in Ho et al.'s own, and so do those that make images:
// blocks are the identity, and y = 0.
void Settings::init(const sdp::Draw& draw, const std::string& name, at::Tensor& p) const {
  if (name.starts_with("up_blocks.") && name.ends_with("skip_conv.weight")) return void(p.zero_());
  for (const char* last : {"conv2.weight", "to_out.0.weight", "conv_out.weight"})
    if (name.ends_with(last)) return void(p.zero_());
  sdp::initial_value(draw, name, p);
}

// The frequencies of the Fourier embedding.
bool Settings::keeps_f32(const std::string& name) const {
  return time_embedding_type == TimeEmbedding::fourier && name == "time_proj.weight";
}

}  // namespace sdpipe::unet2d

namespace net = sdpipe::unet2d;

SDP_PLUGIN(
    "Apache-2.0",
    sdpipe::nn::with_fast_paths(sdpipe::nn::described(sdp::torch_model<net::Settings>("unet2d", "1.0.0",
                                                                                      "diffusers' UNet2DModel")))
        .integers("block_out_channels", &net::Settings::block_out_channels, sdp::between(1, 65536), "",
                  "width of each level; each level after the first halves the image")
        .integer("layers_per_block", &net::Settings::layers_per_block, sdp::between(1, 64), "",
                 "residual blocks of a level on the way down; one more on the way up")
        .string("down_block_types", &net::Settings::down_block_types,
                "type of each level on the way down, with commas between: DownBlock2D, AttnDownBlock2D, "
                "ResnetDownsampleBlock2D, SkipDownBlock2D, AttnSkipDownBlock2D")
        .string("up_block_types", &net::Settings::up_block_types,
                "type of each level on the way up, from the smallest images: UpBlock2D, AttnUpBlock2D, "
                "ResnetUpsampleBlock2D, SkipUpBlock2D, AttnSkipUpBlock2D")
        .choice("mid_block_type", &net::Settings::mid_block_type, {"UNetMidBlock2D", "none"},
                "of the block between the two ways")
        .flag("add_attention", &net::Settings::add_attention, "attention in the middle block")
        .real("mid_block_scale_factor", &net::Settings::mid_block_scale_factor, sdp::above(0), "",
              "divides the sums of two branches in the middle block")
        .integer("attention_head_dim", &net::Settings::attention_head_dim, sdp::at_least(0), "",
                 "channels of a head of attention; 0 (null in config.json): one head of all channels")
        .integer("norm_num_groups", &net::Settings::norm_num_groups, sdp::at_least(0), "",
                 "groups of each normalisation; 0 (null in config.json): a quarter of the channels, at most 32")
        .integer("attn_norm_num_groups", &net::Settings::attn_norm_num_groups, sdp::at_least(0), "",
                 "groups of the middle's attention; 0 (null in config.json): norm_num_groups, or with scale_shift no "
                 "normalisation")
        .real("norm_eps", &net::Settings::norm_eps, sdp::above(0), "", "added to variances by normalisation")
        .choice("act_fn", &net::Settings::act_fn, {"silu", "swish", "mish", "gelu", "relu"},
                "activation function of the blocks")
        .real("dropout", &net::Settings::dropout, sdp::below_from(0, 1), "", "probability, in every residual block")
        .choice("resnet_time_scale_shift", &net::Settings::resnet_time_scale_shift, {"default", "scale_shift"},
                "add the embedding in each residual block, or scale and shift by it behind the normalisation")
        .choice("downsample_type", &net::Settings::downsample_type, {"conv", "resnet"},
                "what halves images in AttnDownBlock2D")
        .choice("upsample_type", &net::Settings::upsample_type, {"conv", "resnet"},
                "what doubles images in AttnUpBlock2D")
        .integer("downsample_padding", &net::Settings::downsample_padding, sdp::between(0, 1), "px",
                 "of convolutions that halve; 0 pads at the bottom and right only")
        .flag("center_input_sample", &net::Settings::center_input_sample, "the network maps x to 2 x - 1 first")
        .choice("time_embedding_type", &net::Settings::time_embedding_type, {"positional", "fourier", "learned"},
                "sinusoids of the condition; of its logarithm at random frequencies, with y divided by the condition; "
                "or an entry of a table")
        .integer("time_embedding_dim", &net::Settings::time_embedding_dim, sdp::at_least(0), "",
                 "width of the embedding; 0 (null in config.json): four times the first level's")
        .integer("freq_shift", &net::Settings::freq_shift, sdp::at_least(0), "",
                 "with positional: the frequencies fall to 1e-4 over their number less this")
        .flag("flip_sin_to_cos", &net::Settings::flip_sin_to_cos, "with positional: cosines first")
        .integer("num_train_timesteps", &net::Settings::num_train_timesteps, sdp::at_least(0), "",
                 "with learned: entries of the table")
        .choice("class_embed_type", &net::Settings::class_embed_type, {"none", "timestep", "identity"},
                "of labels, which are not told: their parameters are kept for exchange and add nothing")
        .flag("learn_sigma", &net::Settings::learn_sigma,
              "hold as many output channels again (out_channels = 2 in_channels in config.json), for a variance that "
              "nobody asks for")
        .integer("num_class_embeds", &net::Settings::num_class_embeds, sdp::at_least(0), "",
                 "labels, with class_embed_type = \"none\"; 0: no labels")
        .dtypes(SDP_DTYPE_BF16)
        .example("block_out_channels = [8, 16]\nnorm_num_groups = 4\nlayers_per_block = 1\n"
                 "down_block_types = \"DownBlock2D, AttnDownBlock2D\"\nup_block_types = \"AttnUpBlock2D, UpBlock2D\""))
