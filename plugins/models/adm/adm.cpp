// adm: the U-Net of Dhariwal and Nichol, "Diffusion models beat GANs on image synthesis" (arXiv 2105.05233): the
// embedding of the condition scales and shifts behind a normalisation, blocks change the resolution themselves,
// attention in several heads at several resolutions. Parameters and settings carry guided-diffusion's names.
//
//   x0_hat = x + y, or what `output` makes of the network's y (nn/meaning.hpp)
//
// The estimate of the variance (learn_sigma) and the embedding of labels (class_cond) are held, so that published
// weights fit, but sdpipe asks for neither: they change nothing, and their gradient is zero.
//
//   [model]
//   type = "adm"                 # the network of ImageNet at 64 px, without labels
//   num_channels = 192
//   num_res_blocks = 3
//   num_head_channels = 64
//   attention_resolutions = [32, 16, 8]
//   resblock_updown = true
//   use_new_attention_order = true
//   output = "epsilon"           # with process = "vp": as its published weights were trained, on a cosine with an
//   process = "vp"               # offset (64 px) or on the schedule "vp" with path = "linear_beta"
#include "plugins/models/adm/network.hpp"

namespace sdpipe::adm {

namespace {

std::string text(int64_t n) { return std::to_string(n); }

// In one direction; the middle's attention belongs to the way down.
void check_heads(const sdp::Call& call, const Settings& a, int64_t width, bool upwards) {
  if (a.num_head_channels > 0 && width % a.num_head_channels != 0)
    call.fail("attention over " + text(width) + " channels cannot be cut into heads of " + text(a.num_head_channels),
              "num_head_channels");
  if (width % a.heads(width, upwards) != 0)
    call.fail(
        "attention over " + text(width) + " channels cannot be cut into " + text(a.heads(width, upwards)) + " heads",
        upwards && a.num_heads_upsample > 0 ? "num_heads_upsample" : "num_heads");
}

void check_widths(const sdp::Call& call, const Settings& a, int64_t pixels) {
  for (size_t l = 0; l < a.levels(); ++l) {
    if (a.width(l) == 0 || a.width(l) % groups != 0)
      call.fail(
          "num_channels times each multiplier must be a multiple of 32, the number of groups of each "
          "normalisation, but level " +
              text(static_cast<int64_t>(l)) + " has " + text(a.width(l)) + " channels",
          "channel_mult");
    if (a.attends(pixels >> l) || l + 1 == a.levels()) check_heads(call, a, a.width(l), false);
    if (a.attends(pixels >> l)) check_heads(call, a, a.width(l), true);
  }
}

}  // namespace

void Settings::prepare(sdp::Call& call, const sdp::Shape& sample) const {
  if (sample.size() != 3) call.fail("adm works on images, samples of 3 axes (channel, height, width)");
  if (num_channels % 2 != 0) call.fail("must be even: the embedding has as many sines as cosines", "num_channels");
  if (channel_mult.empty() || levels() > 16)
    call.fail("needs 1 to 16 entries, one for each resolution", "channel_mult");
  for (const auto& [key, value] :
       {std::pair("num_head_channels", num_head_channels), std::pair("num_heads_upsample", num_heads_upsample)})
    if (value == 0) call.fail("must be -1, for no choice of its own, or at least 1", key);
  check_meaning(call);
  check_widths(call, *this, sample[2]);
  nn::check_halvings(call, sample, levels(), "multipliers", "channel_mult");
}

std::shared_ptr<Network> Settings::build(const sdp::Shape& sample) const {
  return std::make_shared<Network>(*this, sample[0], sample[2]);
}

// The last layer of every residual branch starts at zero: blocks are the identity, and y = 0.
void Settings::init(const sdp::Draw& draw, const std::string& name, at::Tensor& p) const {
  for (const char* last : {"out_layers.3.weight", "proj_out.weight", "out.2.weight"})
    if (name.ends_with(last)) return void(p.zero_());
  if (name == "label_emb.weight") return draw.normal(p, 1);
  sdp::initial_value(draw, name, p);
}

}  // namespace sdpipe::adm

namespace net = sdpipe::adm;

SDP_PLUGIN("Apache-2.0",
           sdpipe::nn::with_fast_paths(sdpipe::nn::described(sdp::torch_model<net::Settings>(
                                           "adm", "1.0.0", "The U-Net of guided diffusion, with its parameters")))
               .integer("num_channels", &net::Settings::num_channels, sdp::between(2, 4096), "",
                        "width in units of which levels are wide")
               .reals("channel_mult", &net::Settings::channel_mult, sdp::above_to(0, 64), "",
                      "width of each level in units of num_channels; each level after the first halves the image")
               .integer("num_res_blocks", &net::Settings::num_res_blocks, sdp::between(1, 64), "",
                        "residual blocks of a level on the way down; one more on the way up")
               .integers("attention_resolutions", &net::Settings::attention_resolutions, sdp::at_least(1), "px",
                         "self-attention at levels of these widths, and always at the middle")
               .integer("num_heads", &net::Settings::num_heads, sdp::between(1, 4096), "", "heads of each attention")
               .integer("num_head_channels", &net::Settings::num_head_channels, sdp::between(-1, 4096), "",
                        "width of a head, in place of a number of heads; -1: none")
               .integer("num_heads_upsample", &net::Settings::num_heads_upsample, sdp::between(-1, 4096), "",
                        "heads on the way up; -1: as on the way down")
               .flag("use_new_attention_order", &net::Settings::use_new_attention_order,
                     "rows of qkv by q, k and v and then by head, instead of by head first")
               .flag("use_scale_shift_norm", &net::Settings::use_scale_shift_norm,
                     "the condition scales and shifts what is normalised, instead of being added")
               .flag("resblock_updown", &net::Settings::resblock_updown, "residual blocks change the resolution")
               .flag("conv_resample", &net::Settings::conv_resample,
                     "without resblock_updown: a convolution wherever the resolution changes")
               .real("dropout", &net::Settings::dropout, sdp::below_from(0, 1), "", "probability, in every block")
               .flag("learn_sigma", &net::Settings::learn_sigma,
                     "hold as many output channels again, for a variance that nobody asks for")
               .flag("class_cond", &net::Settings::class_cond,
                     "hold an embedding of labels, which adds nothing: samples have no labels")
               .integer("num_classes", &net::Settings::num_classes, sdp::at_least(1), "",
                        "with class_cond: number of labels")
               .dtypes(SDP_DTYPE_BF16)
               .example("num_channels = 32\nchannel_mult = [1, 2]\nnum_res_blocks = 1\nattention_resolutions = [4]\n"
                        "num_heads = 2"))
