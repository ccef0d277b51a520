// Settings of the network, under the names of the keys of diffusers' config.json.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "plugins/models/nn/fast_paths.hpp"
#include "plugins/models/nn/levels.hpp"
#include "plugins/models/nn/meaning.hpp"

namespace sdpipe::unet2d {

enum class TimeEmbedding { positional, fourier, learned };
enum class Activation { silu, swish, mish, gelu, relu };
enum class TimeShift { added, scale_shift };
enum class ResampleType { conv, resnet };
enum class MiddleType { block, none };
enum class ClassEmbedding { none, timestep, identity };

// What a block type of one resolution holds: attention behind every residual block (with `skip` on the way up: behind
// the last); its change of resolution as a residual block, as a convolution or as downsample_type and upsample_type
// say; an image pyramid beside the features, FIR filters and sums divided by sqrt(2) (`skip`, from NCSN++).
enum class Resampler { conv, resnet, as_set };
struct BlockType {
  const char* down;
  const char* up;
  bool attends = false;
  Resampler resampler = Resampler::conv;
  bool skip = false;
};

class Network;

struct Settings : nn::Meaning, nn::FastPaths {
  std::vector<int64_t> block_out_channels{224, 448, 672, 896};
  int64_t layers_per_block = 2, time_embedding_dim = 0, attention_head_dim = 8, norm_num_groups = 32,
          attn_norm_num_groups = 0, freq_shift = 0, downsample_padding = 1, num_class_embeds = 0,
          num_train_timesteps = 0;
  std::string down_block_types = "DownBlock2D, AttnDownBlock2D, AttnDownBlock2D, AttnDownBlock2D",
              up_block_types = "AttnUpBlock2D, AttnUpBlock2D, AttnUpBlock2D, UpBlock2D";
  bool center_input_sample = false, flip_sin_to_cos = true, add_attention = true, learn_sigma = false;
  double mid_block_scale_factor = 1, dropout = 0, norm_eps = 1e-5;
  TimeEmbedding time_embedding_type = TimeEmbedding::positional;
  MiddleType mid_block_type = MiddleType::block;
  Activation act_fn = Activation::silu;
  TimeShift resnet_time_scale_shift = TimeShift::added;
  ResampleType downsample_type = ResampleType::conv, upsample_type = ResampleType::conv;
  ClassEmbedding class_embed_type = ClassEmbedding::none;

  std::vector<BlockType> down, up;  // in the order of the two lists, by prepare()

  size_t levels() const { return block_out_channels.size(); }
  int64_t angles() const { return block_out_channels[0] * (time_embedding_type == TimeEmbedding::fourier ? 2 : 1); }
  int64_t embedding() const { return time_embedding_dim > 0 ? time_embedding_dim : 4 * block_out_channels[0]; }

  void prepare(sdp::Call& call, const sdp::Shape& sample);
  std::shared_ptr<Network> build(const sdp::Shape& sample) const;
  void init(const sdp::Draw& draw, const std::string& name, at::Tensor& p) const;
  bool keeps_f32(const std::string& name) const;
};

}  // namespace sdpipe::unet2d
