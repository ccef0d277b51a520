// ncsnpp: the network of Song et al., "Score-based generative modeling through stochastic differential equations"
// (arXiv 2011.13456, Appendix H): a U-Net of BigGAN or DDPM blocks with FIR resampling, pyramids at input and output
// and rescaled skip connections. Parameters carry score_sde's names, so that its weights load as they are.
//
//   x0_hat = x + y, or what `output` makes of the network's y (nn/meaning.hpp)
//
//   [model]
//   type = "ncsnpp"              # trained from the start: told of t, images in [-1, 1]
//   nf = 128
//   ch_mult = [1, 2, 2, 2]
//
// score_sde's own configurations, to which their weights belong:
//   NCSN++ (VE)             centered = false, range = "unit", scale_by_sigma = true, output = "score",
//                           condition = "sigma"; continuous: embedding_type = "fourier"
//   DDPM++ (VP)             fir = false, progressive_input = "none", output = "epsilon", process = "vp"; sampled with
//                           the corruption "scale" and the schedule "vp", path = "linear_beta"
#include <cmath>

#include "plugins/models/ncsnpp/network.hpp"

namespace sdpipe::ncsnpp {

namespace {

void check_network(const sdp::Call& call, const Settings& s) {
  if (s.ch_mult.empty() || s.levels() > 16) call.fail("needs 1 to 16 entries, one for each resolution", "ch_mult");
  if (s.fir && (s.fir_kernel.size() < 2 || s.fir_kernel.size() > 16))
    call.fail("needs 2 to 16 taps; to resample without a filter, set fir = false", "fir_kernel");
  double sum = 0;
  for (const double tap : s.fir_kernel) sum += tap;
  if (s.fir && std::abs(sum) < 1e-6) call.fail("the taps add up to 0, so that they cannot be normalised", "fir_kernel");
  if (s.sigma_min >= s.sigma_max) call.fail("must be below sigma_max", "sigma_min");
  if (s.scale_by_sigma && s.embedding_type == Embedding::positional && s.condition == nn::Condition::t)
    call.fail(
        "divides by one of the network's own sigmas, of which condition = \"t\" tells nothing; set condition = "
        "\"sigma\"",
        "scale_by_sigma");
}

// Convolutions from features to an image: of the output, and of the levels of progressive = "output_skip".
bool is_head(const Settings& s, const std::string& name, const at::Tensor& p) {
  const int in_front = (s.embedding_type == Embedding::fourier ? 1 : 0) + (s.conditional ? 2 : 0);
  const bool direct = name.find('.') == name.rfind('.', name.rfind('.') - 1);
  return direct && p.dim() == 4 && p.size(0) == s.image_channels &&
         name != "all_modules." + std::to_string(in_front) + ".weight";
}

}  // namespace

void Settings::prepare(sdp::Call& call, const sdp::Shape& sample) {
  if (sample.size() != 3) call.fail("ncsnpp works on images, samples of 3 axes (channel, height, width)");
  check_network(call, *this);
  check_meaning(call);
  nn::check_halvings(call, sample, levels(), "multipliers", "ch_mult");
  image_channels = sample[0];
}

std::shared_ptr<Network> Settings::build(const sdp::Shape& sample) const {
  return std::make_shared<Network>(*this, sample[0], sample[2]);
}

// Uniform with variance scale / mean(fan_in, fan_out), as in score_sde: scale 1, 0.1 for attention, and init_scale for
// the last layer of every residual branch and of the network. Both fans of a matrix are its sides, whichever is which.
void Settings::init(const sdp::Draw& draw, const std::string& name, at::Tensor& p) const {
  if (p.dim() < 2) return void(p.fill_(name.ends_with("weight") ? 1 : 0));
  double scale = name.find(".NIN_") != std::string::npos ? 0.1 : 1;
  if (name.ends_with(".Conv_1.weight") || name.ends_with(".NIN_3.W") || is_head(*this, name, p)) scale = init_scale;
  const double fan = static_cast<double>((p.size(0) + p.size(1)) * (p.numel() / (p.size(0) * p.size(1)))) / 2;
  const double bound = std::sqrt(3 * scale / fan);
  draw.uniform(p, -bound, bound);
}

// The frequencies of the Fourier embedding.
bool Settings::keeps_f32(const std::string& name) const { return name == "all_modules.0.W"; }

}  // namespace sdpipe::ncsnpp

namespace net = sdpipe::ncsnpp;

SDP_PLUGIN(
    "Apache-2.0",
    sdpipe::nn::with_fast_paths(sdpipe::nn::described(sdp::torch_model<net::Settings>(
                                    "ncsnpp", "1.0.0", "NCSN++ and DDPM++ with score_sde's parameters")))
        .integer("nf", &net::Settings::nf, sdp::between(4, 4096), "", "width of the first level")
        .integers("ch_mult", &net::Settings::ch_mult, sdp::between(1, 64), "",
                  "width of each level in units of nf; each level after the first halves the image")
        .integer("num_res_blocks", &net::Settings::num_res_blocks, sdp::between(1, 64), "",
                 "residual blocks of a level on the way down; one more on the way up")
        .integers("attn_resolutions", &net::Settings::attn_resolutions, sdp::at_least(1), "px",
                  "self-attention at levels of these widths, and always at the middle")
        .choice("resblock_type", &net::Settings::resblock_type, {"biggan", "ddpm"},
                "biggan: blocks change the resolution themselves; ddpm: layers between them do")
        .flag("fir", &net::Settings::fir, "resample with a filter instead of means and nearest neighbours")
        .reals("fir_kernel", &net::Settings::fir_kernel, sdp::any(), "", "taps of that filter, of any sum")
        .flag("resamp_with_conv", &net::Settings::resamp_with_conv,
              "with ddpm blocks: a convolution in each layer that changes the resolution")
        .choice("progressive_input", &net::Settings::progressive_input, {"none", "input_skip", "residual"},
                "how the halved image joins every level on the way down")
        .choice("progressive_combine", &net::Settings::progressive_combine, {"sum", "cat"},
                "with input_skip: add the image's channels or set them beside")
        .choice("progressive", &net::Settings::progressive, {"none", "output_skip", "residual"},
                "how the levels on the way up contribute to the output")
        .flag("skip_rescale", &net::Settings::skip_rescale, "divide sums of two branches by sqrt(2)")
        .choice("nonlinearity", &net::Settings::nonlinearity, {"swish", "elu", "relu", "lrelu"}, "activation function")
        .real("dropout", &net::Settings::dropout, sdp::below_from(0, 1), "", "probability, in every block")
        .real("init_scale", &net::Settings::init_scale, sdp::at_least(0), "",
              "variance, against that of other layers, at which each branch's last layer starts")
        .flag("conditional", &net::Settings::conditional, "tell the blocks of the path")
        .choice("embedding_type", &net::Settings::embedding_type, {"positional", "fourier"},
                "sinusoids of the condition (sigma is told by its index), or of its logarithm at random frequencies")
        .real("fourier_scale", &net::Settings::fourier_scale, sdp::above(0), "",
              "standard deviation of those frequencies")
        .real("sigma_min", &net::Settings::sigma_min, sdp::above(0), "", "last of the network's own sigmas")
        .real("sigma_max", &net::Settings::sigma_max, sdp::above(0), "", "first of the network's own sigmas")
        .integer("num_scales", &net::Settings::num_scales, sdp::between(2, 1e6), "",
                 "number of the network's own sigmas, in geometric steps")
        .flag("scale_by_sigma", &net::Settings::scale_by_sigma,
              "divide the output by the sigma that the condition stands for")
        .flag("centered", &net::Settings::centered, "false: the network maps x to 2 x - 1 first")
        .dtypes(SDP_DTYPE_BF16)
        .example("nf = 8\nch_mult = [1, 2]\nnum_res_blocks = 1\nattn_resolutions = [4]"))
