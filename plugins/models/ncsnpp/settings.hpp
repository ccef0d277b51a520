// Settings of the network, under the names that score_sde's configurations give them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "plugins/models/nn/fast_paths.hpp"
#include "plugins/models/nn/levels.hpp"
#include "plugins/models/nn/meaning.hpp"

namespace sdpipe::ncsnpp {

enum class Embedding { positional, fourier };
enum class BlockType { biggan, ddpm };
enum class InputPyramid { none, input_skip, residual };
enum class OutputPyramid { none, output_skip, residual };
enum class Combination { sum, cat };
enum class Activation { swish, elu, relu, lrelu };

class Network;

struct Settings : nn::Meaning, nn::FastPaths {
  int64_t nf = 128, num_res_blocks = 4, num_scales = 1000;
  std::vector<int64_t> ch_mult{1, 2, 2, 2}, attn_resolutions{16};
  std::vector<double> fir_kernel{1, 3, 3, 1};
  bool conditional = true, fir = true, resamp_with_conv = true, skip_rescale = true, scale_by_sigma = false,
       centered = true;
  double dropout = 0, init_scale = 0, fourier_scale = 16, sigma_min = 0.01, sigma_max = 50;
  Embedding embedding_type = Embedding::positional;
  BlockType resblock_type = BlockType::biggan;
  InputPyramid progressive_input = InputPyramid::residual;
  OutputPyramid progressive = OutputPyramid::none;
  Combination progressive_combine = Combination::sum;
  Activation nonlinearity = Activation::swish;

  int64_t image_channels = 0;  // from the data, by prepare()

  size_t levels() const { return ch_mult.size(); }
  int64_t width(size_t level) const { return nf * ch_mult[level]; }
  bool attends(int64_t pixels) const { return nn::attends_at(attn_resolutions, pixels); }

  void prepare(sdp::Call& call, const sdp::Shape& sample);
  std::shared_ptr<Network> build(const sdp::Shape& sample) const;
  void init(const sdp::Draw& draw, const std::string& name, at::Tensor& p) const;
  bool keeps_f32(const std::string& name) const;
};

}  // namespace sdpipe::ncsnpp
