#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstdlib>

#include "core/host/conformance.hpp"
#include "core/training/diffusers_config.hpp"
#include "tests/plugins/parity.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const std::string tiny =
    "block_out_channels = [8, 16]\nnorm_num_groups = 4\nlayers_per_block = 1\nattention_head_dim = 8\n"
    "down_block_types = \"DownBlock2D, AttnDownBlock2D\"\nup_block_types = \"AttnUpBlock2D, UpBlock2D\"\n";

Model network(const std::string& toml, const SampleShape& sample) {
  return Model(plugin("unet2d"), settings(plugin("unet2d"), toml), sample);
}

std::vector<std::filesystem::path> fixtures() { return fixture_files("SDPIPE_PARITY_DIR_UNET2D", "unet2d"); }

// The body of the [model] table that `sdpipe weights info` gives for the fixture's config.json.
std::string table_of(const Fixture& fixture) {
  const std::string head = "[model]\ntype = \"unet2d\"\n";
  const std::string table = model_table(fixture.config.dump(), "unet2d", plugin("unet2d").schema);
  REQUIRE(table.starts_with(head));
  return table.substr(head.size());
}

// A way to tell the network its timestep or noise level, as users would.
struct Route {
  std::string toml;
  Points at;
};

std::vector<Route> routes(const Fixture& fixture) {
  const std::vector<double> condition = numbers(fixture.at("input.condition"));
  Points at = points(condition, 0.5);
  std::vector<double> times;
  for (const double c : condition) times.push_back(c / 999);
  at.t = times;
  at.sigma = condition;
  const std::string level = "condition = \"level\"\ncondition_scale = 1",
                    sigma = "condition = \"sigma\"\ncondition_scale = 1";
  if (fixture.config.at("time_embedding_type") == "fourier") return {{sigma, at}, {level, at}};
  return {{"", at}, {level, at}};
}

void require_parity(const Fixture& fixture, at::ScalarType dtype, double bound, const std::string& more = "") {
  const std::string toml = table_of(fixture) + more;
  for (const Route& route : routes(fixture)) {
    const Deviation d = deviation(network(toml + route.toml, fixture.sample()), fixture, route.at, dtype);
    INFO(fixture.name << " with " << more << route.toml << "\nworst gradient: " << d.worst);
    CHECK(d.output <= bound);
    CHECK(d.input_gradient <= bound);
    CHECK(d.norms <= bound);
    CHECK(d.projections <= bound);
  }
}

std::string failure(const std::string& toml, const SampleShape& sample = {3, 8, 8}) {
  return testing::failure([&] { network(toml, sample); });
}

}  // namespace

TEST_CASE("unet2d computes what diffusers' UNet2DModel computes with the same weights, and the same gradients") {
  REQUIRE_FALSE(fixtures().empty());
  for (const auto& file : fixtures()) {
    const Fixture fixture = read_fixture(file);
    require_parity(fixture, at::kDouble, 1e-9);
    require_parity(fixture, at::kDouble, 1e-9, "checkpoint = true\n");
    require_parity(fixture, at::kFloat, 1e-4);
    require_parity(fixture, at::kFloat, 1e-4, "fused_norm = false\nwinograd = false\nfused_attention = false\n");
  }
}

TEST_CASE("a config.json of diffusers goes through unet2d's settings and comes back") {
  for (const auto& file : fixtures()) {
    const Fixture fixture = read_fixture(file);
    INFO(fixture.name);
    const Settings own = settings(plugin("unet2d"), table_of(fixture));
    const Json back = Json::parse(diffusers_config(own, fixture.sample()));
    CHECK(config_differences(fixture.config.dump(), own, fixture.sample()) == std::vector<std::string>{});
    for (const auto& [key, value] : fixture.config.items()) {
      INFO(key);
      if (!key.starts_with("_")) CHECK(back.at(key) == value);
    }
  }
}

TEST_CASE("unet2d has as many parameters as published networks") {
  const std::string cifar10 =
      "block_out_channels = [128, 256, 256, 256]\n"
      "down_block_types = \"DownBlock2D, AttnDownBlock2D, DownBlock2D, DownBlock2D\"\n"
      "up_block_types = \"UpBlock2D, UpBlock2D, AttnUpBlock2D, UpBlock2D\"\nattention_head_dim = 0\n";
  CHECK(listed(network(cifar10, {3, 32, 32})).params == 35746307);
  const std::string celebahq =
      "block_out_channels = [128, 128, 256, 256, 512, 512]\n"
      "down_block_types = \"DownBlock2D, DownBlock2D, DownBlock2D, DownBlock2D, AttnDownBlock2D, DownBlock2D\"\n"
      "up_block_types = \"UpBlock2D, AttnUpBlock2D, UpBlock2D, UpBlock2D, UpBlock2D, UpBlock2D\"\n"
      "attention_head_dim = 0\n";
  CHECK(listed(network(celebahq, {3, 256, 256})).params == 113673219);
}

TEST_CASE("unet2d keeps the laws of models in its options") {
  for (const std::string& toml :
       {tiny + "dropout = 0.1\nresnet_time_scale_shift = \"scale_shift\"\noutput = \"epsilon\"\nprocess = \"vp\"",
        tiny + "time_embedding_type = \"learned\"\nnum_train_timesteps = 1000\nnum_class_embeds = 3\nact_fn = \"mish\"",
        std::string("block_out_channels = [8, 16]\nnorm_num_groups = 0\nlayers_per_block = 1\n"
                    "down_block_types = \"SkipDownBlock2D SkipDownBlock2D\"\ntime_embedding_type = \"fourier\"\n"
                    "up_block_types = \"SkipUpBlock2D SkipUpBlock2D\"\ncondition = \"sigma\"\nrange = \"unit\"")}) {
    for (const LawResult& law : check_model(plugin("unet2d"), settings(plugin("unet2d"), toml), {3, 4, 4})) {
      INFO(toml << "\n" << law.id << ": " << law.detail);
      CHECK(law.holds);
    }
  }
}

TEST_CASE("a freshly initialised unet2d returns zero") {
  const Model model = network(tiny, {3, 4, 4});
  ParamSet params = storage(model);
  model.init(params, 1);
  Points at = points({0.4, 2}, 0.3);
  at.t = {0.2, 0.9};
  CallScope scope;
  CHECK(model.forward({params, at, scope, false}, noise({2, 3, 4, 4}, 1)).abs().max().item<double>() == 0);
}

TEST_CASE("unet2d strips UNetRes from the block types of old configurations") {
  const Published old = listed(network(tiny + "mid_block_type = \"none\"", {3, 4, 4}));
  const std::string renamed =
      "block_out_channels = [8, 16]\nnorm_num_groups = 4\nlayers_per_block = 1\nmid_block_type = \"none\"\n"
      "down_block_types = \"UNetResDownBlock2D,UNetResAttnDownBlock2D\"\n"
      "up_block_types = \"UNetResAttnUpBlock2D,UNetResUpBlock2D\"";
  CHECK(listed(network(renamed, {3, 4, 4})).shapes == old.shapes);
}

TEST_CASE("settings of unet2d that make no network are refused in full sentences") {
  const std::string start = "plugin \"unet2d\": create failed: ";
  const auto with = [](const std::string& down, const std::string& up, const std::string& more = "") {
    return "block_out_channels = [8, 16]\nnorm_num_groups = 4\ndown_block_types = \"" + down +
           "\"\nup_block_types = \"" + up + "\"\n" + more;
  };
  CHECK(failure(with("DownBlock2D, KDownBlock2D", "UpBlock2D, UpBlock2D")) ==
        start +
            "\"KDownBlock2D\" is not supported; supported are DownBlock2D, AttnDownBlock2D, "
            "ResnetDownsampleBlock2D, SkipDownBlock2D, AttnSkipDownBlock2D (parameter \"down_block_types\")");
  CHECK(failure(with("DownBlock2D, DownBlock2D", "CrossAttnUpBlock2D, UpBlock2D")) ==
        start +
            "\"CrossAttnUpBlock2D\" is not supported; supported are UpBlock2D, AttnUpBlock2D, "
            "ResnetUpsampleBlock2D, SkipUpBlock2D, AttnSkipUpBlock2D (parameter \"up_block_types\")");
  CHECK(failure(with("DownBlock2D, DownBlock2D", "UpBlock2D")) ==
        start +
            "names 1 block types, but block_out_channels has 2 entries: one of each for every resolution "
            "(parameter \"up_block_types\")");
  CHECK(failure(with("DownBlock2D, SkipDownBlock2D", "UpBlock2D, UpBlock2D")) ==
        start +
            "block types with Skip must come first: their images start at the full resolution "
            "(parameter \"down_block_types\")");
  CHECK(failure(with("DownBlock2D, DownBlock2D", "SkipUpBlock2D, UpBlock2D")) ==
        start +
            "block types with Skip must come last: their images end at the full resolution "
            "(parameter \"up_block_types\")");
  CHECK(failure(with("SkipDownBlock2D, SkipDownBlock2D", "SkipUpBlock2D, SkipUpBlock2D"), {1, 8, 8}) ==
        start +
            "block types with Skip are for images of 3 channels, but these have 1 (parameter \"down_block_types\")");
  CHECK(failure(with("DownBlock2D, DownBlock2D", "UpBlock2D, UpBlock2D") + "time_embedding_type = \"learned\"") ==
        start +
            "must be given with time_embedding_type = \"learned\": it has one entry for each timestep "
            "(parameter \"num_train_timesteps\")");
  CHECK(failure(tiny, {3, 7, 8}) ==
        start +
            "images are 7 x 8 (height x width), but both must be divisible by 2, halved for each of the 2 entries "
            "but the first; resize the images, or use fewer (parameter \"block_out_channels\")");
  CHECK(failure("norm_num_groups = 0") ==
        start +
            "0 (null in config.json) is for block types with Skip, which have their own numbers of groups "
            "(parameter \"norm_num_groups\")");
  CHECK(failure("block_out_channels = [8, 20]\nlayers_per_block = 1\nnorm_num_groups = 8\n"
                "down_block_types = \"DownBlock2D, DownBlock2D\"\nup_block_types = \"UpBlock2D, UpBlock2D\"") ==
        start +
            "a norm of 20 channels cannot be cut into 8 groups; choose block_out_channels and norm_num_groups so "
            "that every width, and sums of neighbouring ones, can be (parameter \"block_out_channels\")");
  CHECK(failure("block_out_channels = [8, 16]\nnorm_num_groups = 4\nattention_head_dim = 9\n"
                "down_block_types = \"AttnDownBlock2D, DownBlock2D\"\nup_block_types = \"UpBlock2D, UpBlock2D\"") ==
        start + "is more than the 8 channels that some attention has in all (parameter \"attention_head_dim\")");
  CHECK(failure(tiny + "freq_shift = 4") ==
        start +
            "must be below half of the first entry of block_out_channels, the number of frequencies "
            "(parameter \"freq_shift\")");
  CHECK(failure("block_out_channels = [9]\nnorm_num_groups = 3\ndown_block_types = \"DownBlock2D\"\n"
                "up_block_types = \"UpBlock2D\"") ==
        start +
            "the first entry must be even: the embedding has as many sines as cosines "
            "(parameter \"block_out_channels\")");
}
