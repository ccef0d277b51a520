#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/base/log.hpp"
#include "core/config/example.hpp"
#include "core/host/conformance.hpp"
#include "core/host/discovery.hpp"
#include "tests/catch.h"

using namespace sdpipe;

namespace {

// The plugins of the build, found as `sdpipe` finds them.
const Registry& registry() {
  static const Registry found({{}, {SDPIPE_BUILD_DIR "/plugins"}});
  return found;
}

void require_laws(int32_t kind, const std::vector<SampleShape>& shapes) {
  set_log_level(LogLevel::warning);
  size_t plugins = 0;
  for (const Plugin& plugin : registry().plugins()) {
    if (plugin.kind() != kind) continue;
    ++plugins;
    const Settings settings = example_settings(plugin);
    for (const SampleShape& shape : shapes) {
      for (const LawResult& law : check_laws(plugin, settings, shape)) {
        INFO(plugin.id() << " on " << fmt::format("{}", fmt::join(shape, "x")) << ": " << law.id << ": " << law.detail);
        CHECK(law.holds);
      }
    }
  }
  CHECK(plugins > 0);
}

}  // namespace

TEST_CASE("every file in the build's plugin folder is a sound plugin, and the promised ones are there") {
  CHECK(registry().warnings().empty());
  const std::vector<std::pair<int32_t, std::vector<std::string>>> promised = {
      {SDP_KIND_CORRUPTION,
       {"box_mask", "downsample", "fade", "gaussian_blur", "grayscale", "heat_blur", "identity", "kernel", "mask",
        "motion_blur", "patch_mask", "pixel_mask", "scale", "soft_mask"}},
      {SDP_KIND_SCHEDULE, {"constant", "cosine", "edm", "flow", "geometric", "linear", "log", "vp", "wasserstein"}},
      {SDP_KIND_MODEL, {"adm", "ddpm", "empirical", "ncsnpp", "torchscript", "unet", "unet2d", "wiener"}},
      {SDP_KIND_SAMPLER,
       {"ancestral", "ancestral_multistep", "churn", "ddim", "euler", "heun", "langevin", "momentum", "multistep",
        "naive"}}};
  for (const auto& [kind, ids] : promised) {
    for (const std::string& id : ids) {
      INFO(id);
      CHECK(registry().find(kind, id));
    }
  }
}

TEST_CASE("every plugin of the build tells its licence, version, summary and what its parameters are for") {
  for (const Plugin& plugin : registry().plugins()) {
    INFO(plugin.id());
    CHECK(plugin.license == "Apache-2.0");
    CHECK(std::string(plugin.descriptor->version) == "1.0.0");
    CHECK_FALSE(std::string(plugin.descriptor->summary).empty());
    for (const Param& param : plugin.schema) CHECK_FALSE(param.doc.empty());
  }
}

TEST_CASE("every plugin of the build offers float64 where samples pass through it") {
  for (const Plugin& plugin : registry().plugins()) {
    INFO(plugin.id());
    if (plugin.kind() != SDP_KIND_SCHEDULE) CHECK((plugin.descriptor->dtypes & SDP_DTYPE_F64) != 0);
  }
}

TEST_CASE("every corruption keeps the laws, on one pixel, odd sizes and colour images") {
  require_laws(SDP_KIND_CORRUPTION, {{1, 8, 8}, {3, 8, 8}, {1, 1, 1}, {2, 17, 23}, {4, 5, 9}, {3, 64, 64}});
}

TEST_CASE("every schedule keeps the laws") { require_laws(SDP_KIND_SCHEDULE, {{1, 8, 8}, {3, 8, 8}}); }

TEST_CASE("every model keeps the laws") { require_laws(SDP_KIND_MODEL, {{1, 8, 8}, {3, 8, 8}}); }

TEST_CASE("every sampler keeps the laws") { require_laws(SDP_KIND_SAMPLER, {{1, 8, 8}, {3, 8, 8}}); }
