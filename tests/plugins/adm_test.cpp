#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/norm.h>

#include <cmath>
#include <map>
#include <span>

#include "core/host/conformance.hpp"
#include "tests/plugins/parity.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const std::string tiny =
    "num_channels = 16\nchannel_mult = [2, 2]\nnum_res_blocks = 1\nattention_resolutions = [2]\nnum_head_channels = "
    "8\n";

Model network(const std::string& toml, const SampleShape& sample) {
  return Model(plugin("adm"), settings(plugin("adm"), toml), sample);
}

std::string table_of(const Fixture& fixture) {
  std::string toml;
  for (const auto& [key, value] : fixture.config.items()) toml += key + " = " + value.dump() + "\n";
  return toml;
}

// The condition by way of t, as users would, and by way of level, without the factor.
std::vector<std::pair<std::string, Points>> routes(const Fixture& fixture) {
  const std::vector<double> condition = numbers(fixture.at("input.condition"));
  Points at = points(condition, 0.5);
  for (size_t b = 0; b < condition.size(); ++b) at.t[b] = condition[b] / 999;
  return {{"", at}, {"condition = \"level\"\ncondition_scale = 1\n", at}};
}

void require_parity(const Fixture& fixture, at::ScalarType dtype, double bound) {
  for (const auto& [toml, at] : routes(fixture)) {
    const Deviation d = deviation(network(table_of(fixture) + toml, fixture.sample()), fixture, at, dtype);
    INFO(fixture.name << " with " << toml << "\nworst gradient: " << d.worst);
    CHECK(d.output <= bound);
    CHECK(d.input_gradient <= bound);
    CHECK(d.norms <= bound);
    CHECK(d.projections <= bound);
  }
}

ParamSet random_weights(const Model& model) {
  ParamSet set = storage(model);
  for (size_t i = 0; i < set.tensors().size(); ++i) set.tensors()[i].copy_(noise(model.params()[i].shape, i)).mul_(0.2);
  set.changed();
  return set;
}

at::Tensor forward(const Model& model, const ParamSet& params, const at::Tensor& x) {
  CallScope scope;
  return model.forward({params, points({0.4, 2}, 0.3), scope, false}, x);
}

std::string refusal(const std::string& toml, const SampleShape& sample = {3, 8, 8}) {
  return failure([&] { network(toml, sample); });
}

}  // namespace

TEST_CASE("adm computes what its equations, written down a second time, give with the same weights") {
  const auto files = fixture_files("SDPIPE_PARITY_DIR_ADM", "adm");
  REQUIRE_FALSE(files.empty());
  for_every_fixture(files, require_parity);
}

TEST_CASE("a gradient that is not finite is no parity") {
  Fixture fixture = read_fixture(fixture_files("SDPIPE_PARITY_DIR_ADM", "adm").front());
  const auto [toml, at] = routes(fixture).front();
  const Model model = network(table_of(fixture) + toml, fixture.sample());
  for (const double wrong : {std::nan(""), HUGE_VAL}) {
    fixture.gradients["middle_block.0.in_layers.2.weight"] = {wrong, 0.0};
    const Deviation d = testing::deviation(model, fixture, at, at::kDouble);
    CHECK_FALSE(d.norms <= 1);
    CHECK(d.worst == "middle_block.0.in_layers.2.weight");
  }
}

TEST_CASE("adm lists the tensors of guided diffusion's network for ImageNet at 64 px") {
  const Published ours =
      listed(network("num_channels = 192\nnum_res_blocks = 3\nattention_resolutions = [32, 16, 8]\n"
                     "num_head_channels = 64\nresblock_updown = true\nlearn_sigma = true\n"
                     "class_cond = true\nuse_new_attention_order = true\ndropout = 0.1",
                     {3, 64, 64}));
  const Published theirs = published("adm_shapes.json", "adm_imagenet64_cond");
  CHECK(ours.params == theirs.params);
  CHECK(ours.shapes == theirs.shapes);
}

TEST_CASE("layers between the blocks change the resolution under the names op and conv, or without parameters") {
  const auto names = [](const std::string& toml) { return listed(network(tiny + toml, {3, 4, 4})).shapes; };
  const auto with = names("");
  CHECK(with.at("input_blocks.2.0.op.weight") == std::vector<int64_t>{32, 32, 3, 3});
  CHECK(with.at("output_blocks.1.2.conv.weight") == std::vector<int64_t>{32, 32, 3, 3});
  auto without = names("conv_resample = false");
  CHECK(without.size() + 4 == with.size());
  for (const std::string layer : {"input_blocks.2.0.op", "output_blocks.1.2.conv"})
    for (const std::string tensor : {".weight", ".bias"}) without[layer + tensor] = with.at(layer + tensor);
  CHECK(without == with);
}

// By head: (head, qkv, depth); new: (qkv, head, depth).
TEST_CASE("both orders of attention are one network with the rows of qkv in another order") {
  const Model by_head = network(tiny, {3, 4, 4}), by_part = network(tiny + "use_new_attention_order = true", {3, 4, 4});
  const ParamSet ours = random_weights(by_head), theirs = random_weights(by_part);
  const at::Tensor x = noise({2, 3, 4, 4}, 1), y = forward(by_head, ours, x);
  CHECK(largest_difference(forward(by_part, theirs, x), y) > 1e-3);
  size_t permuted = 0;
  for (size_t i = 0; i < ours.tensors().size(); ++i) {
    if (by_head.params()[i].name.find(".qkv.") == std::string::npos) continue;
    const at::Tensor rows = ours.tensors()[i].reshape({4, 3, 8, -1}).transpose(0, 1);
    theirs.tensors()[i].copy_(rows.reshape(ours.tensors()[i].sizes()));
    ++permuted;
  }
  CHECK(permuted == 8);  // input_blocks.3, middle_block, output_blocks.0 and .1
  ParamSet changed(theirs.tensors());
  CHECK(largest_difference(forward(by_part, changed, x), y) < 1e-13);
}

TEST_CASE("the variance and the labels that adm holds change nothing and have no gradient") {
  const Model plain = network(tiny, {3, 4, 4});
  const Model holding = network(tiny + "learn_sigma = true\nclass_cond = true\nnum_classes = 5", {3, 4, 4});
  const ParamSet ours = random_weights(plain), gradients = storage(holding);
  ParamSet theirs = random_weights(holding);
  std::map<std::string, at::Tensor> known;
  for (size_t i = 0; i < ours.tensors().size(); ++i) known[plain.params()[i].name] = ours.tensors()[i];
  for (size_t i = 0; i < theirs.tensors().size(); ++i) {
    const std::string& name = holding.params()[i].name;
    if (name == "label_emb.weight") CHECK(holding.params()[i].shape == std::vector<int64_t>{5, 64});
    if (!known.count(name)) continue;
    const bool is_last = name.rfind("out.2", 0) == 0;
    (is_last ? theirs.tensors()[i].narrow(0, 0, 3) : theirs.tensors()[i]).copy_(known.at(name));
  }
  theirs.changed();
  const at::Tensor x = noise({2, 3, 4, 4}, 1);
  CallScope scope;
  const Points at = points({0.4, 2}, 0.3);
  auto [y, saved] = holding.forward_saving({theirs, at, scope, false}, x);
  CHECK(largest_difference(y, forward(plain, ours, x)) < 1e-13);
  holding.vjp({theirs, at, scope, false}, x, saved, x, &gradients, false);
  for (size_t i = 0; i < gradients.tensors().size(); ++i) {
    const std::string& name = holding.params()[i].name;
    if (name == "label_emb.weight") CHECK(gradients.tensors()[i].abs().max().item<double>() == 0);
    if (name.rfind("out.2", 0) != 0) continue;
    CHECK(gradients.tensors()[i].narrow(0, 3, 3).abs().max().item<double>() == 0);
    CHECK(gradients.tensors()[i].narrow(0, 0, 3).abs().min().item<double>() > 0);
  }
}

TEST_CASE("adm keeps the laws of models, with dropout, resampling without parameters and output as noise") {
  const std::string toml = tiny +
                           "conv_resample = false\ndropout = 0.1\nuse_scale_shift_norm = false\noutput = \"epsilon\"\n"
                           "process = \"vp\"\ncondition = \"level\"";
  for (const LawResult& law : check_model(plugin("adm"), settings(plugin("adm"), toml), {2, 8, 8})) {
    INFO(law.id << ": " << law.detail);
    CHECK(law.holds);
  }
}

TEST_CASE("adm's fast paths, checkpoints and bfloat16 compute what plain operators in float32 compute") {
  const std::string wide = tiny + "resblock_updown = true\ndropout = 0.1\n";
  const std::string plain = "fused_norm = false\nwinograd = false\nfused_attention = false\n";
  const at::Tensor x = noise({8, 3, 8, 8}, 1, at::kFloat), gy = noise({8, 3, 8, 8}, 2, at::kFloat);
  const Points at = points(std::vector<double>(8, 0.5), 0.3);
  const auto results = [&](const std::string& toml, at::ScalarType dtype) {
    const Model model = network(wide + toml, {3, 8, 8});
    const ParamSet params = storage(model, dtype), gradients = storage(model, at::kFloat);
    for (size_t i = 0; i < params.tensors().size(); ++i)
      params.tensors()[i].copy_(noise(model.params()[i].shape, i)).mul_(0.1);
    const std::vector<uint64_t> samples{0, 1, 2, 3, 4, 5, 6, 7};
    CallScope scope;
    scope.random.purpose = Purpose::model;
    scope.random.sample = samples;
    auto [y, saved] = model.forward_saving({params, at, scope, true}, x);
    std::vector<at::Tensor> all{y.flatten(),
                                model.vjp({params, at, scope, true}, x, saved, gy, &gradients, true).flatten()};
    for (const at::Tensor& g : gradients.tensors()) all.push_back(g.flatten());
    return at::cat(all);
  };
  const auto deviation = [](const at::Tensor& a, const at::Tensor& b) {
    return ((a - b).norm() / b.norm()).item<double>();
  };
  const at::Tensor expected = results(plain, at::kFloat), fast = results("", at::kFloat);
  CHECK(deviation(fast, expected) < 1e-4);
  CHECK(largest_difference(fast, expected) > 0);
  CHECK(results("checkpoint = true", at::kFloat).equal(fast));
  const double narrow = deviation(results("", at::kBFloat16), expected);
  CHECK(narrow > 1e-4);
  CHECK(narrow < 0.1);
}

TEST_CASE("what the host refuses to a block that runs again for the gradient comes out as the host said it") {
  const Model model = network(tiny + "dropout = 0.5\ncheckpoint = true", {3, 4, 4});
  const ParamSet params = random_weights(model);
  const at::Tensor x = noise({2, 3, 4, 4}, 1);
  const Points at = points({0.4, 2}, 0.3);
  const std::vector<uint64_t> samples{0, 1};
  CallScope scope;
  scope.random.sample = samples;
  auto [y, saved] = model.forward_saving({params, at, scope, true}, x);
  scope.random.sample = std::span(samples).first(1);
  CHECK(failure([&] {
          model.vjp({params, at, scope, true}, x, saved, x, nullptr, true);
        }) ==
        "plugin \"adm\": vjp failed: host->random: axis 0 of out must be the batch of this call, 1 samples, not 2");
}

TEST_CASE("a freshly initialised adm returns zero and draws the labels' embedding with variance 1") {
  const Model model = network(tiny + "class_cond = true", {3, 4, 4});
  const ParamSet params = storage(model);
  model.init(params, 1);
  CHECK(forward(model, params, noise({2, 3, 4, 4}, 1)).abs().max().item<double>() == 0);
  for (size_t i = 0; i < params.tensors().size(); ++i)
    if (model.params()[i].name == "label_emb.weight")
      CHECK(params.tensors()[i].square().mean().item<double>() == Approx(1).epsilon(0.03));
}

TEST_CASE("settings of adm that make no network are refused in full sentences") {
  const std::string failed = "plugin \"adm\": create failed: ";
  CHECK(refusal("num_channels = 48") ==
        failed +
            "num_channels times each multiplier must be a multiple of 32, the number of groups of each "
            "normalisation, but level 0 has 48 channels (parameter \"channel_mult\")");
  CHECK(refusal("num_channels = 33") ==
        failed + "must be even: the embedding has as many sines as cosines (parameter \"num_channels\")");
  CHECK(refusal("num_heads = 5") ==
        failed + "attention over 128 channels cannot be cut into 5 heads (parameter \"num_heads\")");
  CHECK(refusal("num_heads_upsample = 3") ==
        failed + "attention over 128 channels cannot be cut into 3 heads (parameter \"num_heads_upsample\")");
  CHECK(refusal("num_heads_upsample = 3\nattention_resolutions = [4]") ==
        failed + "attention over 256 channels cannot be cut into 3 heads (parameter \"num_heads_upsample\")");
  CHECK(refusal("num_heads_upsample = 3\nattention_resolutions = [64]") == "no failure");  // none on the way up
  CHECK(refusal("num_head_channels = 48\nattention_resolutions = [4]") ==
        failed + "attention over 256 channels cannot be cut into heads of 48 (parameter \"num_head_channels\")");
  CHECK(refusal("num_head_channels = 0") ==
        failed + "must be -1, for no choice of its own, or at least 1 (parameter \"num_head_channels\")");
  CHECK(refusal("channel_mult = []") ==
        failed + "needs 1 to 16 entries, one for each resolution (parameter \"channel_mult\")");
  CHECK(refusal("", {3, 28, 28}) ==
        failed +
            "images are 28 x 28 (height x width), but both must be divisible by 8, halved for each of the 4 "
            "multipliers but the first; resize the images, or use fewer (parameter \"channel_mult\")");
  CHECK(refusal("", {28, 28}) == failed + "adm works on images, samples of 3 axes (channel, height, width)");
}
