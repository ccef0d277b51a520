// The network of adm.cpp: stages on the way down and up, of which each has a skip connection.
#pragma once

#include <ATen/ops/empty.h>
#include <ATen/ops/silu.h>

#include "plugins/models/adm/layers.hpp"
#include "plugins/models/nn/embedding.hpp"

namespace sdpipe::adm {

class Network : public Module {
 public:
  Network(const Settings& a, int64_t channels, int64_t pixels)
      : settings_(a),
        channels_(channels),
        time_0_(a.num_channels, 4 * a.num_channels),
        time_2_(4 * a.num_channels, 4 * a.num_channels),
        stem_(square(channels, a.width(0))),
        middle_(std::make_shared<Stage>()),
        norm_(norm_of(a.width(0))),
        out_(square(a.width(0), a.learn_sigma ? 2 * channels : channels)) {
    register_module("time_embed", sequence({{"0", time_0_.ptr()}, {"2", time_2_.ptr()}}));
    if (a.class_cond)
      register_module("label_emb", std::make_shared<Module>())
          ->register_parameter("weight", at::empty({a.num_classes, 4 * a.num_channels}));
    std::vector<int64_t> skips{a.width(0)};
    const auto inputs = register_module("input_blocks", std::make_shared<Module>());
    inputs->register_module("0", sequence({{"0", stem_.ptr()}}));
    for (size_t l = 0; l < a.levels(); ++l) add_down(*inputs, l, a.attends(pixels >> l), skips);
    add_middle(skips.back());
    const auto outputs = register_module("output_blocks", std::make_shared<Module>());
    int64_t width = skips.back();
    for (size_t l = a.levels(); l-- > 0;) width = add_up(*outputs, l, a.attends(pixels >> l), width, skips);
    register_module("out", sequence({{"0", norm_.ptr()}, {"2", out_.ptr()}}));
  }

  at::Tensor forward(const sdp::Pass& pass, const at::Tensor& x) {
    const nn::Seen seen = nn::seen_by_network(settings_, pass, pass.x);
    const at::Tensor condition = nn::condition_of(settings_, pass, seen.sigma);
    const at::Tensor angles = nn::cosines_and_sines(condition, settings_.num_channels).to(x.scalar_type());
    const at::Tensor embedding = at::silu(time_2_(at::silu(time_0_(angles))));
    const at::Tensor out = evaluate(pass, seen.x.to(x.scalar_type()), embedding).to(pass.x.scalar_type());
    return nn::residual_of(settings_, pass, seen, settings_.learn_sigma ? out.narrow(1, 0, channels_) : out);
  }

 private:
  static std::shared_ptr<Stage> add_stage(Module& list, std::vector<std::shared_ptr<Stage>>& stages, size_t first) {
    stages.push_back(list.register_module(std::to_string(stages.size() + first), std::make_shared<Stage>()));
    return stages.back();
  }
  void add_block(Stage& stage, int64_t in, int64_t out, Resampling resampling = Resampling::none) {
    stage.add<Block>(settings_, in, out, resampling, blocks_++);
  }

  void add_down(Module& list, size_t l, bool attends, std::vector<int64_t>& skips) {
    const int64_t width = settings_.width(l);
    for (int64_t i = 0; i < settings_.num_res_blocks; ++i) {
      Stage& stage = *add_stage(list, down_, 1);
      add_block(stage, skips.back(), width);
      if (attends) stage.add<Attention>(settings_, width, false);
      skips.push_back(width);
    }
    if (l + 1 == settings_.levels()) return;
    add_resampling(*add_stage(list, down_, 1), Resampling::halve, width);
    skips.push_back(width);
  }

  void add_resampling(Stage& stage, Resampling resampling, int64_t width) {
    if (settings_.resblock_updown)
      add_block(stage, width, width, resampling);
    else
      stage.add<Resample>(settings_, resampling == Resampling::halve, width);
  }

  void add_middle(int64_t width) {
    register_module("middle_block", middle_);
    add_block(*middle_, width, width);
    middle_->add<Attention>(settings_, width, false);
    add_block(*middle_, width, width);
  }

  int64_t add_up(Module& list, size_t l, bool attends, int64_t width, std::vector<int64_t>& skips) {
    for (int64_t i = 0; i <= settings_.num_res_blocks; ++i, skips.pop_back()) {
      Stage& stage = *add_stage(list, up_, 0);
      add_block(stage, width + skips.back(), settings_.width(l));
      width = settings_.width(l);
      if (attends) stage.add<Attention>(settings_, width, true);
      if (l > 0 && i == settings_.num_res_blocks) add_resampling(stage, Resampling::twice, width);
    }
    return width;
  }

  at::Tensor evaluate(const sdp::Pass& pass, const at::Tensor& x, const at::Tensor& embedding) {
    std::vector<at::Tensor> skips{nn::arranged(settings_, nn::conv3x3(settings_, stem_, x))};
    for (const auto& stage : down_) skips.push_back(stage->forward(pass, skips.back(), embedding));
    at::Tensor h = middle_->forward(pass, skips.back(), embedding);
    for (const auto& stage : up_) {
      h = stage->forward(pass, h, embedding, skips.back());
      skips.pop_back();
    }
    return nn::conv3x3(settings_, out_, nn::group_norm(settings_, norm_, h, true));
  }

  Settings settings_;
  int64_t channels_;
  uint32_t blocks_ = 0;  // numbers the draws of dropout
  Linear time_0_, time_2_;
  Conv2d stem_;
  std::shared_ptr<Stage> middle_;
  std::vector<std::shared_ptr<Stage>> down_, up_;
  GroupNorm norm_;
  Conv2d out_;
};

}  // namespace sdpipe::adm
