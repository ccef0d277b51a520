#include <ATen/TensorOperators.h>

#include <map>

#include "core/diffusion/trajectory.hpp"
#include "core/host/conformance.hpp"
#include "tests/diffusion/setup.hpp"
#include "tests/plugins/parity.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const std::string tiny = "ch = 32\nch_mult = [1, 2]\nnum_res_blocks = 1\nattn_resolutions = [2]\n";

Model network(const std::string& id, const std::string& toml, const SampleShape& sample) {
  return Model(plugin(id), settings(plugin(id), toml), sample);
}

std::map<std::string, at::Tensor> named(const Model& model, const ParamSet& set) {
  std::map<std::string, at::Tensor> by_name;
  for (size_t i = 0; i < set.tensors().size(); ++i) by_name[model.params()[i].name] = set.tensors()[i];
  return by_name;
}

at::Tensor forward(const Model& model, const ParamSet& params, const Points& at, const at::Tensor& x) {
  CallScope scope;
  return model.forward({params, at, scope, false}, x);
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  const size_t found = text.find(what);
  return found == std::string::npos ? text : text.replace(found, what.size(), by);
}

// The tensor of score_sde's list for a tensor of DDPM's, for two levels of one block each.
std::string in_score_sde(std::string name) {
  const std::pair<std::string, std::string> modules[] = {{"temb.dense.0", "0"},
                                                         {"temb.dense.1", "1"},
                                                         {"conv_in", "2"},
                                                         {"down.0.block.0", "3"},
                                                         {"down.0.downsample.conv", "4.Conv_0"},
                                                         {"down.1.block.0", "5"},
                                                         {"mid.block_1", "6"},
                                                         {"mid.attn_1", "7"},
                                                         {"mid.block_2", "8"},
                                                         {"up.1.block.0", "9"},
                                                         {"up.1.block.1", "10"},
                                                         {"up.1.upsample.conv", "11.Conv_0"},
                                                         {"up.0.block.0", "12"},
                                                         {"up.0.block.1", "13"},
                                                         {"norm_out", "14"},
                                                         {"conv_out", "15"}};
  const std::pair<std::string, std::string> layers[] = {{".norm1", ".GroupNorm_0"},
                                                        {".norm2", ".GroupNorm_1"},
                                                        {".conv1", ".Conv_0"},
                                                        {".conv2", ".Conv_1"},
                                                        {".temb_proj", ".Dense_0"},
                                                        {".norm.", ".GroupNorm_0."},
                                                        {".q.weight", ".NIN_0.W"},
                                                        {".q.bias", ".NIN_0.b"},
                                                        {".k.weight", ".NIN_1.W"},
                                                        {".k.bias", ".NIN_1.b"},
                                                        {".v.weight", ".NIN_2.W"},
                                                        {".v.bias", ".NIN_2.b"},
                                                        {".proj_out.weight", ".NIN_3.W"},
                                                        {".proj_out.bias", ".NIN_3.b"},
                                                        {".nin_shortcut.weight", ".NIN_0.W"},
                                                        {".nin_shortcut.bias", ".NIN_0.b"}};
  for (const auto& [ours, theirs] : modules)
    if (name.starts_with(ours + ".")) {
      name = "all_modules." + theirs + name.substr(ours.size());
      break;
    }
  for (const auto& [ours, theirs] : layers) name = replaced(name, ours, theirs);
  return name;
}

std::string failure(const std::string& toml, const SampleShape& sample) {
  try {
    network("ddpm", toml, sample);
  } catch (const PluginFailure& e) {
    return e.what();
  }
  return "no failure";
}

// Samples of a network with random weights, drawn as the pipeline's text says.
at::Tensor samples_of(const std::string& path, const std::string& output) {
  const Pipeline pipeline = parse(
      "[run]\nprecision = \"float64\"\n[data]\ntype = \"idx\"\npath = \"none\"\n"
      "[corruption]\ntype = \"scale\"\n[schedule]\ntype = \"vp\"\npath = \"" +
      path + "\"\n[model]\ntype = \"ddpm\"\ncondition = \"t\"\nprocess = \"vp\"\noutput = \"" + output + "\"\n" + tiny +
      "[train]\nimages = 128\n[sampler]\ntype = \"ancestral\"\n[sample]\nsteps = 10\nprior = \"noise\"\n");
  const SampleShape shape = {3, 4, 4};
  const std::shared_ptr<const Corruption> corruption = make_corruption(pipeline, shape);
  const Process process(corruption, select_path(pipeline, TestData(corruption->level_max())));
  const Model model = make_model(pipeline, shape);
  ParamSet params = storage(model);
  model.init(params, 1);
  for (size_t i = 0; i < params.tensors().size(); ++i) params.tensors()[i].add_(noise(model.params()[i].shape, i), 0.1);
  params.changed();
  const std::vector<uint64_t> sample = {0, 1};
  const at::Tensor x_1 = process.path().sigma(1) * normal_like(noise({2, 3, 4, 4}, 1), 0, Purpose::test, sample, 0);
  TrajectoryOptions options;
  options.nodes = sampling_nodes(process.path(), pipeline.sample.integer("steps"));
  const Denoiser denoiser(model, params, process);
  return run_trajectory(denoiser, make_sampler(pipeline.sampler), x_1, {0, 1}, sample, options).x;
}

}  // namespace

TEST_CASE("a network that predicts noise is sampled from t = 1 on along both variance-preserving paths") {
  for (const std::string path : {"linear_beta", "cosine"}) {
    for (const std::string output : {"epsilon", "score"}) {
      const at::Tensor x = samples_of(path, output);
      INFO(path << " " << output << ": " << x.abs().max().item<double>());
      CHECK(x.sizes() == at::IntArrayRef({2, 3, 4, 4}));
      CHECK(x.isfinite().all().item<bool>());
      CHECK(largest_difference(x[0], x[1]) > 1e-3);
    }
  }
}

TEST_CASE("ddpm lists the tensors of the ddim repository's networks") {
  const std::tuple<std::string, std::string, int64_t> networks[] = {{"ddpm_cifar10", "", 32},
                                                                    {"ddpm_celeba64", "ch_mult = [1, 2, 2, 2, 4]", 64}};
  for (const auto& [name, toml, pixels] : networks) {
    INFO(name);
    const Published ours = listed(network("ddpm", toml, {3, pixels, pixels})),
                    theirs = published("ddpm_shapes.json", name);
    CHECK(ours.params == theirs.params);
    CHECK(ours.shapes == theirs.shapes);
  }
}

// With 32 groups, blocks of DDPM's type and neither filter nor pyramid, score_sde's network, whose numbers are tested
// against its own, is DDPM's but for attention on the way up.
TEST_CASE("ddpm computes what score_sde's network of the same form computes") {
  for (const bool convolutions : {true, false}) {
    const std::string flag = std::string("\nresamp_with_conv = ") + (convolutions ? "true" : "false");
    const Model ddpm = network("ddpm", "ch_mult = [1, 2]\nnum_res_blocks = 1\nattn_resolutions = []" + flag, {3, 4, 8});
    const Model score_sde = network("ncsnpp",
                                    "ch_mult = [1, 2]\nnum_res_blocks = 1\nattn_resolutions = []\nfir = false\n"
                                    "resblock_type = \"ddpm\"\nprogressive_input = \"none\"\nskip_rescale = false" +
                                        flag,
                                    {3, 4, 8});
    ParamSet ours = storage(ddpm), theirs = storage(score_sde);
    const auto by_name = named(score_sde, theirs);
    REQUIRE(ours.tensors().size() == theirs.tensors().size());
    for (size_t i = 0; i < ours.tensors().size(); ++i) {
      const std::string& name = ddpm.params()[i].name;
      INFO(name << " is " << in_score_sde(name));
      REQUIRE(by_name.contains(in_score_sde(name)));
      ours.tensors()[i].copy_(noise(ddpm.params()[i].shape, i)).mul_(0.1);
      const at::Tensor& other = by_name.at(in_score_sde(name));
      other.copy_(in_score_sde(name).ends_with(".W") ? ours.tensors()[i].squeeze(-1).squeeze(-1).t()
                                                     : ours.tensors()[i]);
    }
    ours.changed();
    theirs.changed();
    Points at = points({0.4, 2}, 0.3);
    at.t = {0.2, 0.9};
    const at::Tensor x = noise({2, 3, 4, 8}, 5), y = forward(ddpm, ours, at, x);
    CHECK(y.abs().max().item<double>() > 0.1);
    CHECK(largest_difference(y, forward(score_sde, theirs, at, x)) < 1e-11);
  }
}

TEST_CASE("ddpm keeps the laws of models, with attention at every level and output as noise") {
  for (const std::string toml : {"ch = 32\nch_mult = [1, 2]\nnum_res_blocks = 1\nattn_resolutions = [4, 2]\n",
                                 "ch = 32\nch_mult = [1]\nnum_res_blocks = 1\ndropout = 0.1\noutput = \"epsilon\"\n"
                                 "process = \"vp\"\ncondition = \"level\""}) {
    for (const LawResult& law : check_model(plugin("ddpm"), settings(plugin("ddpm"), toml), {2, 4, 4})) {
      INFO(toml << "\n" << law.id << ": " << law.detail);
      CHECK(law.holds);
    }
  }
}

TEST_CASE("a freshly initialised ddpm returns zero, and blocks on the way up attend where those on the way down do") {
  const Model model = network("ddpm", tiny, {3, 4, 4});
  ParamSet params = storage(model);
  model.init(params, 1);
  const Points at = points({0.4, 2}, 0.3);
  const at::Tensor x = noise({2, 3, 4, 4}, 1);
  CHECK(forward(model, params, at, x).abs().max().item<double>() == 0);
  const auto by_name = named(model, params);
  CHECK(by_name.contains("down.1.attn.0.q.weight"));
  CHECK(by_name.contains("up.1.attn.1.q.weight"));
  CHECK_FALSE(by_name.contains("down.0.attn.0.q.weight"));
  CHECK_FALSE(by_name.contains("up.0.attn.0.q.weight"));
}

TEST_CASE("every attention layer of ddpm acts on its output") {
  const Model model = network("ddpm", tiny, {3, 4, 4});
  const Points at = points({0.4, 2}, 0.3);
  const at::Tensor x = noise({2, 3, 4, 4}, 1);
  ParamSet params = storage(model);
  model.init(params, 1);
  for (size_t i = 0; i < params.tensors().size(); ++i) params.tensors()[i].add_(noise(model.params()[i].shape, i), 0.1);
  const auto by_name = named(model, params);
  params.changed();
  const at::Tensor before = forward(model, params, at, x);
  for (const std::string name : {"down.1.attn.0", "mid.attn_1", "up.1.attn.0", "up.1.attn.1"}) {
    INFO(name);
    by_name.at(name + ".proj_out.bias").add_(1);
    params.changed();
    CHECK(largest_difference(forward(model, params, at, x), before) > 1e-3);
    by_name.at(name + ".proj_out.bias").sub_(1);
  }
}

TEST_CASE("settings of ddpm that make no network are refused in full sentences") {
  CHECK(failure("ch = 48", {3, 8, 8}) ==
        "plugin \"ddpm\": create failed: must be a multiple of 32, the number of groups of each normalisation "
        "(parameter \"ch\")");
  CHECK(failure("", {3, 28, 28}) ==
        "plugin \"ddpm\": create failed: images are 28 x 28 (height x width), but both must be divisible by 8, halved "
        "for each of the 4 multipliers but the first; resize the images, or use fewer (parameter \"ch_mult\")");
  CHECK(failure("ch_mult = []", {3, 8, 8}) ==
        "plugin \"ddpm\": create failed: needs 1 to 16 entries, one for each resolution (parameter \"ch_mult\")");
  CHECK(failure("", {28, 28}) ==
        "plugin \"ddpm\": create failed: ddpm works on images, samples of 3 axes (channel, height, width)");
}
