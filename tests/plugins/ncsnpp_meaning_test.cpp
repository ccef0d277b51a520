// What ncsnpp is told of the path, what its output means, how it starts and what it refuses.
#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <map>

#include "core/host/conformance.hpp"
#include "tests/plugins/support.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const std::string tiny = "nf = 8\nch_mult = [1, 2]\nnum_res_blocks = 1\nattn_resolutions = [4]\n";

// A network in float64 on a batch of two samples, with equal parameters for equal seed.
struct Subject {
  explicit Subject(const std::string& toml, const SampleShape& sample_in = {3, 8, 8})
      : model(plugin("ncsnpp"), settings(plugin("ncsnpp"), toml), sample_in),
        sample(sample_in),
        at(points({0.4, 2})),
        params(storage()) {
    at.t = {0.2, 0.9};
    at.sigma = {0.05, 0.3};
    model.init(params, 1);
    for (size_t i = 0; i < params.tensors().size(); ++i)
      if (!model.params()[i].frozen) params.tensors()[i].add_(noise(model.params()[i].shape, i), 0.1);
    params.changed();
  }
  ParamSet storage() const {
    std::vector<at::Tensor> tensors;
    for (const ModelParamInfo& p : model.params()) tensors.push_back(at::zeros(p.shape, at::kDouble));
    return ParamSet(std::move(tensors));
  }
  at::Tensor x() const { return noise({2, sample[0], sample[1], sample[2]}, 77); }
  at::Tensor forward(const at::Tensor& input, uint32_t step = 0, bool train = false) const {
    CallScope scope;
    scope.random.purpose = Purpose::model;
    scope.random.sample = numbers;
    scope.random.step = step;
    return model.forward({params, at, scope, train}, input);
  }

  Model model;
  SampleShape sample;
  Points at;
  ParamSet params;
  std::vector<uint64_t> numbers = {7, 8};
};

std::string failure(const std::string& toml, const SampleShape& sample = {3, 8, 8}) {
  try {
    Model(plugin("ncsnpp"), settings(plugin("ncsnpp"), toml), sample);
  } catch (const PluginFailure& e) {
    return e.what();
  }
  return "no failure";
}

std::map<std::string, at::Tensor> fresh(const Subject& s) {
  const ParamSet values = s.storage();
  s.model.init(values, 3);
  std::map<std::string, at::Tensor> by_name;
  for (size_t i = 0; i < values.tensors().size(); ++i) by_name[s.model.params()[i].name] = values.tensors()[i];
  return by_name;
}

}  // namespace

TEST_CASE("ncsnpp keeps the laws of models in every option") {
  const std::string small = "nf = 4\nch_mult = [1, 2]\nnum_res_blocks = 1\nattn_resolutions = [4]\n";
  const std::pair<std::string, SampleShape> cases[] = {
      {"embedding_type = \"fourier\"\ncondition = \"sigma\"\ncondition_scale = 1\nscale_by_sigma = true", {3, 8, 12}},
      {"condition = \"sigma\"\nscale_by_sigma = true\nrange = \"unit\"\ncentered = false\noutput = \"score\"",
       {1, 4, 4}},
      {"fir = false\nprogressive_input = \"none\"\noutput = \"epsilon\"\nprocess = \"vp\"", {3, 4, 4}},
      {"progressive_input = \"input_skip\"\nprogressive = \"output_skip\"\noutput = \"clean\"", {2, 8, 4}},
      {"progressive_input = \"input_skip\"\nprogressive_combine = \"cat\"\nprogressive = \"residual\"", {2, 4, 4}},
      {"resblock_type = \"ddpm\"\nskip_rescale = false\nnonlinearity = \"elu\"\ncondition = \"level\"", {1, 4, 4}},
      {"resblock_type = \"ddpm\"\nfir = false\nconditional = false\nprogressive = \"residual\"", {1, 4, 4}},
      {"resblock_type = \"ddpm\"\nfir = false\nresamp_with_conv = false\nprogressive = \"output_skip\"", {1, 4, 4}},
      {"resblock_type = \"ddpm\"\nresamp_with_conv = false\nfir_kernel = [1, 2, 1]\ndropout = 0.2", {1, 4, 4}}};
  for (const auto& [toml, shape] : cases) {
    for (const LawResult& law : check_model(plugin("ncsnpp"), settings(plugin("ncsnpp"), small + toml), shape)) {
      INFO(toml << "\n" << law.id << ": " << law.detail);
      CHECK(law.holds);
    }
  }
}

TEST_CASE("layers of ncsnpp without weights take their place in score_sde's list") {
  const Subject s(tiny + "progressive_input = \"input_skip\"\nprogressive = \"output_skip\"");
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const ModelParamInfo& p : s.model.params()) shapes[p.name] = p.shape;
  CHECK(shapes.at("all_modules.4.Conv_2.weight") == std::vector<int64_t>{8, 8, 1, 1});  // halves the resolution
  CHECK_FALSE(shapes.contains("all_modules.5.Conv2d_0.weight"));                        // halves the image
  CHECK(shapes.at("all_modules.6.Conv_0.weight") == std::vector<int64_t>{8, 3, 1, 1});  // joins both
  CHECK(shapes.at("all_modules.16.weight") == std::vector<int64_t>{3, 16, 3, 3});       // image of 4 px
  CHECK(shapes.at("all_modules.19.GroupNorm_0.weight") == std::vector<int64_t>{16});
  CHECK(shapes.at("all_modules.21.weight") == std::vector<int64_t>{8});  // 20 doubles that image
  CHECK(shapes.at("all_modules.22.weight") == std::vector<int64_t>{3, 8, 3, 3});
  for (const auto& item : shapes) CHECK(std::stoi(item.first.substr(12)) <= 22);
}

TEST_CASE("the output of ncsnpp means what `output` and `process` say") {
  const Subject raw(tiny);
  const at::Tensor x = raw.x(), y = raw.forward(x);
  const at::Tensor sigma = tensor({2, 1, 1, 1}, raw.at.sigma), a = (1 - sigma * sigma).sqrt();
  const auto residual = [&](const std::string& toml) { return Subject(tiny + toml).forward(x); };
  CHECK(largest_difference(residual("output = \"score\""), sigma * sigma * y) < 1e-13);
  CHECK(largest_difference(residual("output = \"epsilon\""), -sigma * y) < 1e-13);
  CHECK(largest_difference(residual("output = \"clean\""), y - x) < 1e-13);
  CHECK(largest_difference(residual("output = \"epsilon\"\nprocess = \"vp\""), (x - sigma * y) / a - x) < 1e-13);
  CHECK(largest_difference(residual("output = \"score\"\nprocess = \"vp\""), (x + sigma * sigma * y) / a - x) < 1e-13);
  CHECK(residual("process = \"vp\"").equal(y));
}

TEST_CASE("a network of images in [0, 1] sees x and sigma in that range, and its estimate comes back from it") {
  const std::string fourier = tiny + "embedding_type = \"fourier\"\ncondition = \"sigma\"\ncondition_scale = 1\n";
  for (const std::string output : {"residual", "score", "epsilon", "clean"}) {
    const std::string toml = fourier + "output = \"" + output + "\"\n";
    Subject within(toml);
    const Subject unit(toml + "range = \"unit\"");
    for (double& sigma : within.at.sigma) sigma /= 2;
    INFO(output);
    CHECK(largest_difference(unit.forward(unit.x()), 2 * within.forward((unit.x() + 1) / 2)) < 1e-13);
  }
}

TEST_CASE("an uncentred ncsnpp maps its images to [-1, 1] itself") {
  const Subject centered(tiny), uncentered(tiny + "centered = false");
  const at::Tensor x = centered.x();
  CHECK(uncentered.forward(x).equal(centered.forward(2 * x - 1)));
}

TEST_CASE("ncsnpp is told of the path what its condition says and nothing else") {
  for (const std::string embedding : {"positional", "fourier"}) {
    for (const std::string condition : {"t", "sigma", "level"}) {
      Subject s(tiny + "condition = \"" + condition + "\"\nembedding_type = \"" + embedding + "\"");
      const at::Tensor x = s.x(), y = s.forward(x);
      const auto moved = [&](std::vector<double>& values) {
        const std::vector<double> kept = std::exchange(values, {0.5, 0.01});
        const bool differs = !s.forward(x).equal(y);
        values = kept;
        return differs;
      };
      INFO(embedding << " " << condition);
      CHECK(moved(s.at.t) == (condition == "t"));
      CHECK(moved(s.at.sigma) == (condition == "sigma"));
      CHECK(moved(s.at.level) == (condition == "level"));
    }
  }
}

TEST_CASE("a positional embedding is told sigma by the nearest index, and the output is divided by that sigma") {
  // Sigmas of 3 scales from 8 to 0.5: 8, 2, 0.5. Nearest in ratio: 3.9 belongs to 2, 4.1 to 8.
  const std::string toml = tiny + "sigma_max = 8\nsigma_min = 0.5\nnum_scales = 3\ncondition_scale = 1\n";
  Subject by_sigma(toml + "condition = \"sigma\""), by_index(toml + "condition = \"level\"");
  const at::Tensor x = by_sigma.x();
  const auto same = [&](double sigma, double index) {
    by_sigma.at.sigma = {sigma, sigma};
    by_index.at.level = {index, index};
    return by_sigma.forward(x).equal(by_index.forward(x));
  };
  CHECK(same(3.9, 1));
  CHECK(same(4.1, 0));
  CHECK_FALSE(same(4.1, 1));
  CHECK(same(100, 0));
  CHECK(same(0, 2));

  Subject divided(toml + "condition = \"level\"\nscale_by_sigma = true");
  by_index.at.level = divided.at.level = {1, 2};
  CHECK(largest_difference(divided.forward(x) * tensor({2, 1, 1, 1}, {2, 0.5}), by_index.forward(x)) < 1e-13);
}

TEST_CASE("condition_scale is a factor on t and on level; sigma is told as it is") {
  for (const std::string embedding : {"positional", "fourier"}) {
    const auto same = [&](const std::string& condition) {
      const std::string toml = tiny + "embedding_type = \"" + embedding + "\"\ncondition = \"" + condition + "\"\n";
      const Subject plain(toml), scaled(toml + "condition_scale = 1");
      return plain.forward(plain.x()).equal(scaled.forward(scaled.x()));
    };
    CHECK(same("sigma"));
    CHECK_FALSE(same("t"));
    CHECK_FALSE(same("level"));
  }
}

// Sinusoids of an odd width end on zeros, to which the weights behind are blind.
TEST_CASE("an odd nf is offered where the norms can be cut, and its last angle is zero") {
  const std::string odd =
      "nf = 5\nch_mult = [1]\nnum_res_blocks = 1\nattn_resolutions = []\nprogressive_input = \"none\"\n";
  Subject s(odd);
  const at::Tensor y = s.forward(s.x());
  CHECK(y.isfinite().all().item<bool>());
  for (size_t i = 0; i < s.params.tensors().size(); ++i)
    if (s.model.params()[i].name == "all_modules.0.weight") s.params.tensors()[i].select(1, 4).add_(1);
  s.params.changed();
  CHECK(s.forward(s.x()).equal(y));
  const Subject fourier(odd + "embedding_type = \"fourier\"");
  CHECK(fourier.forward(fourier.x()).isfinite().all().item<bool>());
}

TEST_CASE("a Fourier embedding survives the clean end of the path") {
  Subject s(tiny + "embedding_type = \"fourier\"\nscale_by_sigma = true");
  s.at.t = {0, 0};
  CHECK(s.forward(s.x()).isfinite().all().item<bool>());
}

TEST_CASE("a freshly initialised ncsnpp returns zero in all its forms") {
  for (const std::string toml : {"", "progressive = \"output_skip\"", "embedding_type = \"fourier\""}) {
    Subject s(tiny + toml);
    s.model.init(s.params, 1);
    s.params.changed();
    INFO(toml);
    CHECK(s.forward(s.x()).abs().max().item<double>() == 0);
  }
}

TEST_CASE("layers of ncsnpp start uniform with the variance of their fans") {
  const auto p =
      fresh(Subject("nf = 32\nch_mult = [1, 1]\nnum_res_blocks = 1\nattn_resolutions = [4]\ninit_scale = 0.5"));
  const auto fills = [&](const std::string& name, double bound) {
    const double largest = p.at(name).abs().max().item<double>();
    INFO(name << ": " << largest << " of " << bound);
    CHECK(largest <= bound);
    CHECK(largest > 0.97 * bound);
  };
  fills("all_modules.1.weight", std::sqrt(3 / 128.0));
  fills("all_modules.2.weight", std::sqrt(3 / (9 * 35 / 2.0)));  // stem
  fills("all_modules.3.Conv_0.weight", std::sqrt(3 / (9 * 32.0)));
  fills("all_modules.3.Conv_1.weight", std::sqrt(0.5 * 3 / (9 * 32.0)));
  fills("all_modules.7.NIN_0.W", std::sqrt(0.1 * 3 / 32));
  fills("all_modules.7.NIN_3.W", std::sqrt(0.5 * 3 / 32));
  fills("all_modules.18.weight", std::sqrt(0.5 * 3 / (9 * 35 / 2.0)));  // output
  CHECK(p.at("all_modules.3.GroupNorm_0.weight").eq(1).all().item<bool>());
  CHECK(p.at("all_modules.3.Conv_0.bias").eq(0).all().item<bool>());
}

TEST_CASE("frequencies of a Fourier embedding are frozen and normally distributed") {
  const Subject s("nf = 128\nch_mult = [1]\nnum_res_blocks = 1\nembedding_type = \"fourier\"\nfourier_scale = 16",
                  {1, 4, 4});
  for (const ModelParamInfo& p : s.model.params()) CHECK(p.frozen == (p.name == "all_modules.0.W"));
  const at::Tensor w = fresh(s).at("all_modules.0.W") / 16;
  CHECK(w.mean().item<double>() == Approx(0).margin(1e-6));
  CHECK(w.pow(2).mean().item<double>() == Approx(1).epsilon(0.02));
  CHECK(w.abs().lt(0.6745).to(at::kDouble).mean().item<double>() == Approx(0.5));  // quartiles
}

TEST_CASE("dropout of ncsnpp is redrawn equal for equal step, and is off outside training") {
  const Subject s(tiny + "dropout = 0.5"), without(tiny);
  const at::Tensor x = s.x(), y = s.forward(x, 1, true);
  CHECK(s.forward(x, 1, true).equal(y));
  CHECK_FALSE(s.forward(x, 2, true).equal(y));
  CHECK(s.forward(x).equal(without.forward(x)));
}

TEST_CASE("settings of ncsnpp that make no network are refused in full sentences") {
  CHECK(failure("", {3, 28, 28}) ==
        "plugin \"ncsnpp\": create failed: images are 28 x 28 (height x width), but both must be divisible by 8, "
        "halved for each of the 4 multipliers but the first; resize the images, or use fewer (parameter \"ch_mult\")");
  CHECK(failure("nf = 10\nch_mult = [1, 2]") ==
        "plugin \"ncsnpp\": create failed: a norm of 30 channels cannot be cut into score_sde's groups, a quarter of "
        "the channels but at most 32; choose nf and ch_mult so that the widths, and sums of neighbouring ones, can be "
        "(parameter \"nf\")");
  CHECK(failure("ch_mult = []") ==
        "plugin \"ncsnpp\": create failed: needs 1 to 16 entries, one for each resolution (parameter \"ch_mult\")");
  CHECK(failure("fir_kernel = [1]") ==
        "plugin \"ncsnpp\": create failed: needs 2 to 16 taps; to resample without a filter, set fir = false "
        "(parameter \"fir_kernel\")");
  CHECK(failure("fir_kernel = [1, -1]") ==
        "plugin \"ncsnpp\": create failed: the taps add up to 0, so that they cannot be normalised (parameter "
        "\"fir_kernel\")");
  CHECK(failure("sigma_min = 60") ==
        "plugin \"ncsnpp\": create failed: must be below sigma_max (parameter \"sigma_min\")");
  CHECK(
      failure("scale_by_sigma = true") ==
      "plugin \"ncsnpp\": create failed: divides by one of the network's own sigmas, of which condition = \"t\" tells "
      "nothing; set condition = \"sigma\" (parameter \"scale_by_sigma\")");
  CHECK(failure("range = \"unit\"\nprocess = \"vp\"\noutput = \"epsilon\"") ==
        "plugin \"ncsnpp\": create failed: is for process \"ve\": with \"vp\" images shrink towards 0, which lies at "
        "the range's edge (parameter \"range\")");
  CHECK(failure("", {28, 28}) ==
        "plugin \"ncsnpp\": create failed: ncsnpp works on images, samples of 3 axes (channel, height, width)");
}

TEST_CASE("where nothing is left of the image, a variance-preserving estimate divides by 0.005 instead of nothing") {
  Subject raw(tiny);
  raw.at.sigma = {0.99999, 1};
  const at::Tensor x = raw.x(), y = raw.forward(x);
  const at::Tensor sigma = tensor({2, 1, 1, 1}, raw.at.sigma), a = tensor({2, 1, 1, 1}, {0.005, 0.005});
  const auto residual = [&](const std::string& output) {
    Subject s(tiny + "process = \"vp\"\noutput = \"" + output + "\"");
    s.at.sigma = raw.at.sigma;
    return s.forward(x);
  };
  CHECK(largest_difference(residual("epsilon"), (x - sigma * y) / a - x) < 1e-10);
  CHECK(largest_difference(residual("score"), (x + sigma * sigma * y) / a - x) < 1e-10);
}

TEST_CASE("a variance-preserving ncsnpp refuses a path that does not preserve it") {
  Subject s(tiny + "output = \"epsilon\"\nprocess = \"vp\"");
  s.at.sigma = {0.5, 1.01};
  CHECK(
      testing::failure([&] { s.forward(s.x()); }) ==
      "plugin \"ncsnpp\": forward failed: with process \"vp\" sigma is at most 1, but that of this path is more; take "
      "the schedule \"vp\", or process = \"ve\" (parameter \"process\")");
}
