#include <ATen/TensorOperators.h>

#include <string>
#include <vector>

#include "tests/plugins/support.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

using Tensors = std::vector<at::Tensor>;

const std::vector<std::string> switches = {"fused_norm = false\n", "winograd = false\n", "fused_attention = false\n"};

// y, gradient in x, gradients in the parameters, in float32.
Tensors results(const std::string& id, const std::string& toml, const SampleShape& sample) {
  const Model model(plugin(id), settings(plugin(id), toml), sample);
  ParamSet params = storage(model, at::kFloat);
  const ParamSet gradients = storage(model, at::kFloat);
  model.init(params, 3);
  for (size_t i = 0; i < model.params().size(); ++i) {
    const at::Tensor& p = params.tensors()[i];
    if (!model.params()[i].frozen) p.add_(noise(p.sizes().vec(), i, at::kFloat), 0.05);  // zeros would hide errors
  }
  params.changed();
  Points at = points({0.4, 2}, 0.3);
  at.t = {0.2, 0.9};
  CallScope scope;
  const ModelCall call{params, at, scope, false};
  const std::vector<int64_t> shape = {2, sample[0], sample[1], sample[2]};
  const at::Tensor x = noise(shape, 1, at::kFloat), gy = noise(shape, 2, at::kFloat);
  auto [y, saved] = model.forward_saving(call, x);
  Tensors all{y, model.vjp(call, x, saved, gy, &gradients, true)};
  all.insert(all.end(), gradients.tensors().begin(), gradients.tensors().end());
  return all;
}

double norm_of(const at::Tensor& t) { return t.to(at::kDouble).norm().item<double>(); }

void require_equal(const Tensors& fast, const Tensors& plain) {
  double whole = 0;  // some gradients vanish, and are rounding errors
  for (size_t i = 2; i < plain.size(); ++i) whole = std::max(whole, norm_of(plain[i]));
  bool differs = false;
  for (size_t i = 0; i < plain.size(); ++i) {
    INFO("tensor " << i << " of y, the gradient in x and those in the parameters");
    CHECK(norm_of(fast[i] - plain[i]) <= 1e-4 * std::max(norm_of(plain[i]), i < 2 ? 0 : 1e-2 * whole));
    differs = differs || !fast[i].equal(plain[i]);
  }
  CHECK(differs);  // else the switch turns nothing
}

void require_equal(const std::string& id, const std::string& toml, const SampleShape& sample) {
  const Tensors fast = results(id, toml, sample);
  std::string all = "\n";
  for (const std::string& off : switches) {
    INFO(id << " with " << toml << '\n' << off);
    require_equal(fast, results(id, toml + '\n' + off, sample));
    all += off;
  }
  INFO(id << " with " << toml << all);
  require_equal(fast, results(id, toml + all, sample));
}

}  // namespace

TEST_CASE("unet gives equal outputs and gradients with each fast path, without it and with none") {
  require_equal("unet", "channels = 32\nmultipliers = [1, 2]\nattention = [1]", {3, 32, 32});
}

TEST_CASE("ddpm gives equal outputs and gradients with each fast path, without it and with none") {
  require_equal("ddpm", "ch = 32\nch_mult = [1, 2]\nnum_res_blocks = 1\nattn_resolutions = [8]", {3, 16, 16});
}

TEST_CASE("ncsnpp gives equal outputs and gradients with each fast path, without it and with none") {
  const std::string small = "nf = 32\nch_mult = [1, 2]\nnum_res_blocks = 1\nattn_resolutions = [8]\n";
  for (const std::string toml : {"", "progressive_input = \"input_skip\"\nprogressive = \"output_skip\"",
                                 "resblock_type = \"ddpm\"\nnonlinearity = \"elu\"\nprogressive = \"residual\""})
    require_equal("ncsnpp", small + toml, {3, 16, 16});
}

TEST_CASE("unet2d gives equal outputs and gradients with each fast path, without it and with none") {
  require_equal("unet2d",
                "block_out_channels = [32, 32]\nlayers_per_block = 1\nattention_head_dim = 8\n"
                "down_block_types = \"DownBlock2D, AttnDownBlock2D\"\nup_block_types = \"AttnUpBlock2D, UpBlock2D\"",
                {3, 16, 16});
}

TEST_CASE("adm gives equal outputs and gradients with each fast path, without it and with none") {
  require_equal("adm", "num_channels = 32\nchannel_mult = [1, 2]\nnum_res_blocks = 1\nattention_resolutions = [8]",
                {3, 16, 16});
}
