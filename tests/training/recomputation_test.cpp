// `checkpoint = true` of a network: blocks that run again for the gradient.
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include "core/training/parameters.hpp"
#include "tests/plugins/support.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

// What this thread holds of LibTorch's memory, and the most it held.
class Memory : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, int64_t size, size_t, size_t, c10::Device) override {
    held_ += size;
    peak = std::max(peak, held_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  int64_t peak = 0;

 private:
  int64_t held_ = 0;
};

struct Derivatives {
  at::Tensor y, gx, again, gradients;
  int64_t peak = 0;  // bytes beyond what was held before
};

Derivatives derivatives(const std::string& id, const std::string& toml, at::ScalarType dtype, int64_t size = 8) {
  const Model model(plugin(id), settings(plugin(id), toml), {3, size, size});
  const Layout layout(model.params());
  FlatParameters params(layout, dtype);
  model.init(params.views(), 5);
  params.flat().add_(noise({layout.trained_size()}, 1, dtype), 0.1);
  params.views().changed();
  if (toml.find("narrow") != std::string::npos) params.narrow(layout);
  FlatParameters gradients(layout, params);
  const at::Tensor x = noise({2, 3, size, size}, 2, dtype), gy = noise({2, 3, size, size}, 3, dtype);
  const Points at = points({0.3, 0.6}, 0.2);
  const std::vector<uint64_t> samples = {7, 8};
  CallScope scope;
  scope.random.purpose = Purpose::model;
  scope.random.sample = samples;
  const ModelCall call{params.for_model(), at, scope, true};
  const auto memory = std::make_shared<Memory>();
  const c10::DebugInfoGuard measuring(c10::DebugInfoKind::PROFILER_STATE, memory);
  auto [y, saved] = model.forward_saving(call, x);
  const at::Tensor gx = model.vjp(call, x, saved, gy, &gradients.views(), true, /*last=*/false);
  const at::Tensor first = gradients.flat().clone();
  const at::Tensor again = model.vjp(call, x, saved, gy, &gradients.views(), true);
  CHECK(gradients.flat().equal(first));
  return {y, gx, again, first, memory->peak};
}

// Heads wider than 64 are among them, for which attention chooses by whether there will be gradients.
const std::vector<std::pair<std::string, std::string>> networks = {
    {"unet", "channels = 16\nmultipliers = [1, 2]\ndropout = 0.3\n"},
    {"ncsnpp",
     "nf = 16\nch_mult = [1, 2]\nnum_res_blocks = 1\nattn_resolutions = [4]\ninit_scale = 1\ndropout = 0.3\n"},
    {"ncsnpp",
     "nf = 16\nch_mult = [1, 2]\nnum_res_blocks = 1\nattn_resolutions = [4]\ninit_scale = 1\nconditional = "
     "false\nresblock_type = \"ddpm\"\n"},
    {"ddpm", "ch = 32\nch_mult = [1, 2]\nnum_res_blocks = 1\nattn_resolutions = [4]\ndropout = 0.3\n"},
    {"unet2d",  // a head of 96
     "block_out_channels = [32, 96]\nlayers_per_block = 1\nattention_head_dim = 0\ndropout = 0.3\n"
     "norm_num_groups = 8\ndown_block_types = \"DownBlock2D, AttnDownBlock2D\"\n"
     "up_block_types = \"AttnUpBlock2D, UpBlock2D\"\n"},
    {"adm",  // a head of 96
     "num_channels = 96\nchannel_mult = [1, 1]\nnum_res_blocks = 1\nattention_resolutions = [4]\nnum_heads = 1\n"
     "dropout = 0.3\n"}};

}  // namespace

TEST_CASE("blocks that run again for the gradient give the same one bit for bit, dropout included, as often as asked") {
  for (const auto& [id, toml] : networks) {
    for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
      INFO(id << " in " << at::toString(dtype) << " with " << toml);
      const Derivatives held = derivatives(id, toml, dtype), again = derivatives(id, toml + "checkpoint = true", dtype);
      CHECK(held.gradients.abs().max().item<double>() > 0);
      CHECK(again.y.equal(held.y));
      CHECK(again.gx.equal(held.gx));
      CHECK(again.again.equal(held.gx));
      CHECK(again.gradients.equal(held.gradients));
    }
  }
}

TEST_CASE("with copies in bfloat16 too") {
  for (const auto& [id, toml] : networks) {
    const Derivatives held = derivatives(id, toml + "# narrow\n", at::kFloat),
                      again = derivatives(id, toml + "# narrow\ncheckpoint = true", at::kFloat);
    INFO(id << " with " << toml);
    CHECK_FALSE(held.y.equal(derivatives(id, toml, at::kFloat).y));
    CHECK(again.y.equal(held.y));
    CHECK(again.gradients.equal(held.gradients));
  }
}

TEST_CASE("a network of many blocks holds less while it is trained when they run again") {
  const std::string deep = "channels = 16\nmultipliers = [1, 1]\nblocks = 6\nmiddle_attention = false\n";
  const int64_t held = derivatives("unet", deep, at::kFloat, 32).peak,
                again = derivatives("unet", deep + "checkpoint = true", at::kFloat, 32).peak;
  INFO(held << " bytes held, " << again << " with blocks that run again");
  CHECK(3 * again < 2 * held);
}
