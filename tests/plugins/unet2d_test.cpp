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

std::string without_condition(const std::string& table) { return table.substr(0, table.find("condition")); }

// A way to tell the network its timestep or noise level, as users would; an empty one as the table says.
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
  const std::string level = "condition = \"level\"\ncondition_scale = 1";
  if (fixture.config.at("time_embedding_type") == "learned") {
    const int64_t last = fixture.config.at("num_train_timesteps").get<int64_t>() - 1;
    for (size_t b = 0; b < condition.size(); ++b) at.t[b] = condition[b] / static_cast<double>(last);
  }
  return {{"", at}, {level, at}};
}

void require_parity(const Fixture& fixture, at::ScalarType dtype, double bound, const std::string& more = "") {
  const std::string table = table_of(fixture);
  for (const Route& route : routes(fixture)) {
    const std::string toml = more + (route.toml.empty() ? table : without_condition(table));
    const Deviation d = deviation(network(toml + route.toml, fixture.sample()), fixture, route.at, dtype);
    INFO(fixture.name << " with " << more << route.toml << "\nworst gradient: " << d.worst);
    CHECK(d.output <= bound);
    CHECK(d.input_gradient <= bound);
    CHECK(d.norms <= bound);
    CHECK(d.projections <= bound);
  }
}

const std::string of_skips = "block_out_channels = [8, 16]\nnorm_num_groups = 0\nlayers_per_block = 1\n";
const std::string skips = of_skips +
                          "down_block_types = \"SkipDownBlock2D, SkipDownBlock2D\"\n"
                          "up_block_types = \"SkipUpBlock2D, SkipUpBlock2D\"\n";
const std::string attending_skips =
    "block_out_channels = [32, 32]\nnorm_num_groups = 4\nlayers_per_block = 1\n"
    "down_block_types = \"AttnSkipDownBlock2D, DownBlock2D\"\nup_block_types = \"AttnSkipUpBlock2D, SkipUpBlock2D\"\n";

Points middle() {
  Points at = points({0.4, 2}, 0.3);
  at.t = {0.2, 0.9};
  return at;
}

at::Tensor forward(const Model& model, const ParamSet& params, const Points& at, const at::Tensor& x) {
  CallScope scope;
  return model.forward({params, at, scope, false}, x);
}

ParamSet random_weights(const Model& model) {
  ParamSet set = storage(model);
  for (size_t i = 0; i < set.tensors().size(); ++i) set.tensors()[i].copy_(noise(model.params()[i].shape, i)).mul_(0.2);
  set.changed();
  return set;
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
        tiny + "learn_sigma = true",
        skips + "time_embedding_type = \"fourier\"\ncondition = \"sigma\"\nrange = \"unit\""}) {
    for (const LawResult& law : check_model(plugin("unet2d"), settings(plugin("unet2d"), toml), {3, 4, 4})) {
      INFO(toml << "\n" << law.id << ": " << law.detail);
      CHECK(law.holds);
    }
  }
}

TEST_CASE("a freshly initialised unet2d returns zero, with a pyramid of images too") {
  for (const std::string& toml : {tiny, skips, attending_skips, tiny + "learn_sigma = true"}) {
    const Model model = network(toml, {3, 4, 4});
    ParamSet params = storage(model);
    model.init(params, 1);
    INFO(toml);
    CHECK(forward(model, params, middle(), noise({2, 3, 4, 4}, 1)).abs().max().item<double>() == 0);
  }
}

TEST_CASE("a Fourier embedding of unet2d survives the clean end of the path") {
  const Model model = network(tiny + "time_embedding_type = \"fourier\"\ncondition = \"sigma\"", {3, 4, 4});
  Points clean = middle(), nearly = middle();
  clean.sigma = {0, 0};
  nearly.sigma = {1e-5, 1e-5};
  const ParamSet params = random_weights(model);
  const at::Tensor x = noise({2, 3, 4, 4}, 1), y = forward(model, params, clean, x);
  CHECK(y.isfinite().all().item<bool>());
  CHECK(y.equal(forward(model, params, nearly, x)));
}

TEST_CASE("a last block with Skip changes no resolution, and takes what any other takes") {
  const std::string start = "block_out_channels = [8, 16]\nnorm_num_groups = 4\nlayers_per_block = 1\n";
  for (const std::string types :
       {"down_block_types = \"DownBlock2D, SkipDownBlock2D\"\n", "down_block_types = \"DownBlock2D, DownBlock2D\"\n"}) {
    for (const int64_t channels : {1, 3}) {
      const Model model = network(start + types + "up_block_types = \"UpBlock2D, SkipUpBlock2D\"", {channels, 4, 4});
      const ParamSet params = random_weights(model);
      CHECK(forward(model, params, middle(), noise({2, channels, 4, 4}, 1)).isfinite().all().item<bool>());
      for (const ModelParamInfo& p : model.params()) CHECK(p.name.find("skip_conv") == std::string::npos);
    }
  }
}

TEST_CASE("a learned variance is held by unet2d and changes nothing") {
  const Model plain = network(tiny, {3, 4, 4}), holding = network(tiny + "learn_sigma = true", {3, 4, 4});
  const ParamSet ours = random_weights(plain), theirs = random_weights(holding);
  REQUIRE(ours.tensors().size() == theirs.tensors().size());
  for (size_t i = 0; i < ours.tensors().size(); ++i) {
    const bool last = holding.params()[i].name.starts_with("conv_out.");
    if (last) CHECK(holding.params()[i].shape[0] == 6);
    (last ? theirs.tensors()[i].narrow(0, 0, 3) : theirs.tensors()[i]).copy_(ours.tensors()[i]);
  }
  const ParamSet changed(theirs.tensors());
  const at::Tensor x = noise({2, 3, 4, 4}, 1), y = forward(plain, ours, middle(), x);
  CHECK(y.abs().max().item<double>() > 1e-3);
  CHECK(largest_difference(forward(holding, changed, middle(), x), y) < 1e-13);
}

// diffusers sets a column of zeros behind the sinusoids, to which the weights behind it are blind.
TEST_CASE("an odd first width of unet2d is offered, and its last angle is zero") {
  const Model model = network(
      "block_out_channels = [9]\nnorm_num_groups = 3\ndown_block_types = \"DownBlock2D\"\n"
      "up_block_types = \"UpBlock2D\"\nattention_head_dim = 0",
      {3, 4, 4});
  const ParamSet params = random_weights(model);
  const at::Tensor x = noise({2, 3, 4, 4}, 1), y = forward(model, params, middle(), x);
  CHECK(y.isfinite().all().item<bool>());
  for (size_t i = 0; i < params.tensors().size(); ++i)
    if (model.params()[i].name == "time_embedding.linear_1.weight") params.tensors()[i].select(1, 8).add_(1);
  CHECK(forward(model, ParamSet(params.tensors()), middle(), x).equal(y));
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
  CHECK(failure("block_out_channels = [8, 8, 8]\nnorm_num_groups = 4\ndown_block_types = \"DownBlock2D, "
                "SkipDownBlock2D, DownBlock2D\"\nup_block_types = \"UpBlock2D, UpBlock2D, UpBlock2D\"") ==
        start +
            "block types with Skip must come first, but for the last block: their images start at the full resolution "
            "(parameter \"down_block_types\")");
  CHECK(failure(with("DownBlock2D, DownBlock2D", "SkipUpBlock2D, UpBlock2D")) ==
        start +
            "block types with Skip must come last: their images end at the full resolution "
            "(parameter \"up_block_types\")");
  CHECK(failure(with("SkipDownBlock2D, SkipDownBlock2D", "SkipUpBlock2D, SkipUpBlock2D"), {1, 8, 8}) ==
        start +
            "block types with Skip that change the resolution are for images of 3 channels in and out, but these have "
            "1 in and 1 out (parameter \"down_block_types\")");
  CHECK(failure(skips + "learn_sigma = true") ==
        start +
            "block types with Skip that change the resolution are for images of 3 channels in and out, but these have "
            "3 in and 6 out (parameter \"down_block_types\")");
  CHECK(failure(with("DownBlock2D, DownBlock2D", "UpBlock2D, UpBlock2D") + "time_embedding_type = \"learned\"") ==
        start +
            "must be given with time_embedding_type = \"learned\": it has one entry for each timestep "
            "(parameter \"num_train_timesteps\")");
  CHECK(failure(tiny + "time_embedding_type = \"learned\"\nnum_train_timesteps = 500") ==
        start +
            "goes beyond the last of the 500 entries that num_train_timesteps gives to the table; set it to 499 "
            "(parameter \"condition_scale\")");
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
            "a norm of 20 channels cannot be cut into 8 groups; choose it and block_out_channels so that every width, "
            "and sums of neighbouring ones, can be (parameter \"norm_num_groups\")");
  CHECK(failure(tiny + "attn_norm_num_groups = 3") ==
        start +
            "a norm of 16 channels cannot be cut into 3 groups; choose it and block_out_channels so that every width, "
            "and sums of neighbouring ones, can be (parameter \"attn_norm_num_groups\")");
  CHECK(failure(with("AttnSkipDownBlock2D, DownBlock2D", "UpBlock2D, UpBlock2D")) ==
        start +
            "a norm of 8 channels cannot be cut into 32 groups, which block types with Skip have whatever "
            "norm_num_groups says; choose widths that can be (parameter \"block_out_channels\")");
  CHECK(failure("block_out_channels = [8, 16]\nnorm_num_groups = 4\nattention_head_dim = 9\n"
                "down_block_types = \"AttnDownBlock2D, DownBlock2D\"\nup_block_types = \"UpBlock2D, UpBlock2D\"") ==
        start + "is more than the 8 channels that some attention has in all (parameter \"attention_head_dim\")");
  CHECK(failure(tiny + "freq_shift = 4") ==
        start +
            "must be below half of the first entry of block_out_channels, the number of frequencies "
            "(parameter \"freq_shift\")");
}
