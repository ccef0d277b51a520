// Samplers on the variance-preserving process: DDPM's own posterior, and the path of its published weights to its end.
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "core/base/files.hpp"
#include "core/host/conformance.hpp"
#include "tests/diffusion/setup.hpp"
#include "tests/plugins/gaussian_setting.hpp"
#include "tests/plugins/parity.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const std::string markov = "posterior = \"markov\"";

// The process x_t = a_t x_0 + sigma_t eps of a DDPM at the given alpha_bar = a^2 = 1 - sigma^2, at equal steps of t.
Path path_of(const std::vector<double>& alpha_bar) {
  std::vector<double> level, sigma;
  for (const double square : alpha_bar) {
    level.push_back(1 - std::sqrt(square));
    sigma.push_back(std::sqrt(1 - square));
  }
  return {level, sigma};
}

class Answers : public Denoiser {
 public:
  Answers(const GaussianSetting& g, at::Tensor x0_hat) : Denoiser(g.denoiser()), x0_hat_(std::move(x0_hat)) {}
  at::Tensor x0_hat(const Points&, const at::Tensor&) const override { return x0_hat_.clone(); }

 private:
  at::Tensor x0_hat_;
};

// From t to s, with a denoiser that answers x0_hat, and with the noise eta.
at::Tensor one_step(const GaussianSetting& g, const SamplerChoice& choice, double t, double s, const at::Tensor& x,
                    const at::Tensor& x0_hat, const at::Tensor& eta) {
  const Sampler sampler(plugin(choice.id), settings(plugin(choice.id), choice.toml));
  TrajectoryOptions options;
  options.nodes = {s, t};
  options.last_denoise = false;
  options.replace_noise = [&](uint32_t, uint32_t, at::Tensor& out) { return out.copy_(eta), true; };
  const std::vector<uint64_t> numbers = {0, 1}, keys = {g.key, g.key};
  return run_trajectory(Answers(g, x0_hat), sampler, x, keys, numbers, options).x;
}

GaussianSetting variance_preserving(const std::string& vp = "", const SampleShape& sample = {1, 16, 16}) {
  return {corruption("scale", "", sample), make_path(1.0, "vp", vp), sample};
}

const std::string linear_beta = "path = \"linear_beta\"";

}  // namespace

// tests/parity/make_ddpm_scheduler.py makes the files.
TEST_CASE("ancestral with DDPM's posterior takes the steps of diffusers' DDPMScheduler with fixed_small variance") {
  const auto files = fixture_files("SDPIPE_PARITY_DIR_DDPM_SCHEDULER", "ddpm_scheduler");
  CHECK(files.size() == 4);
  for (const auto& file : files) {
    INFO(file);
    const NamedTensors given = unpack_tensors(read_file(file), file.string());
    const std::vector<double> alpha_bar = numbers(given.at("alpha_bar"));
    const SampleShape sample = {3, 4, 4};
    const GaussianSetting g(corruption("scale", "", sample), path_of(alpha_bar), sample);
    const int64_t steps = given.at("input.x0_hat").size(0);
    at::Tensor x = given.at("input.x");
    for (int64_t i = 0; i < steps; ++i) {
      const double n = static_cast<double>(steps), t = static_cast<double>(steps - i) / n,
                   s = static_cast<double>(steps - i - 1) / n;
      x = one_step(g, {"ancestral", markov}, t, s, x, given.at("input.x0_hat")[i], given.at("input.noise")[i]);
      CHECK(largest_difference(x, given.at("output.x")[i]) < 1e-9);
    }
  }
}

TEST_CASE("both posteriors are their equation, with kappa from what noise and image do between s and t") {
  for (const std::string& path : {std::string(), linear_beta}) {
    const GaussianSetting g = variance_preserving(path, {1, 4, 4});
    const auto a = [&](double t) { return 1 - g.process.path().level(t); };
    const auto sigma = [&](double t) { return g.process.path().sigma(t); };
    for (const auto& [t, s] : {std::pair{1.0, 0.9}, {0.75, 0.5}, {0.2, 0.19}, {0.1, 0.0}}) {
      INFO(path << " from " << t << " to " << s);
      const at::Tensor x = noise({2, 1, 4, 4}, 1), x0_hat = noise({2, 1, 4, 4}, 2), eta = noise({2, 1, 4, 4}, 3);
      const auto expected = [&](double kappa) {
        const double fresh = std::sqrt(std::max(0.0, sigma(s) * sigma(s) - kappa * kappa * sigma(t) * sigma(t)));
        return a(s) * x0_hat + kappa * (x - a(t) * x0_hat) + fresh * eta;
      };
      const double ratio = sigma(s) * sigma(s) / (sigma(t) * sigma(t));
      const auto found = [&](const std::string& toml) {
        return one_step(g, {"ancestral", toml}, t, s, x, x0_hat, eta);
      };
      CHECK(largest_difference(found(markov), expected(ratio * a(t) / a(s))) < 1e-7);
      CHECK(largest_difference(found("posterior = \"accumulating\""), expected(ratio)) < 1e-7);
      CHECK(at::equal(found(""), found("posterior = \"accumulating\"")));
    }
  }
}

TEST_CASE("without anything left of the image, and without noise, DDPM's posterior is what remains of its equation") {
  // a and sigma at t = 0, 1/4 ... 1: the image is gone from t = 3/4 on; no noise up to t = 1/4.
  const SampleShape sample = {1, 2, 2};
  const GaussianSetting g(corruption("scale", "", sample), Path({0, 0.5, 0.75, 1, 1}, {0, 0, 0.5, 0.8, 0.8}), sample);
  const at::Tensor x = noise({2, 1, 2, 2}, 1), x0_hat = noise({2, 1, 2, 2}, 2), eta = noise({2, 1, 2, 2}, 3);
  const auto step = [&](double t, double s) { return one_step(g, {"ancestral", markov}, t, s, x, x0_hat, eta); };
  CHECK(largest_difference(step(1, 0.75), x) < 1e-15);                         // nothing changes
  CHECK(largest_difference(step(1, 0.5), 0.25 * x0_hat + 0.5 * eta) < 1e-15);  // x_t knows nothing of x_s
  CHECK(largest_difference(step(0.5, 0.25), 0.5 * x0_hat) < 1e-15);            // no noise is left
  CHECK(largest_difference(step(0.25, 0), x0_hat + 0.5 * (x - 0.5 * x0_hat)) < 1e-15);
}

TEST_CASE("DDPM's posterior is the accumulating one where the corruption leaves images alone") {
  const at::Tensor x_1 = noise({2, 1, 16, 16}, 1);
  const auto result = [&](const std::string& toml) {
    return run(noise_only(), {"ancestral", toml}, x_1, nodes_to_zero(6), use_known_noise).x;
  };
  CHECK(largest_difference(result(markov), result("")) < 1e-12);
}

TEST_CASE(
    "DDPM's posterior is refused where the corruption does more than to scale images, at any of the step's ends") {
  const auto refusal = [](const std::shared_ptr<const Corruption>& c, const SampleShape& sample, double t, double s,
                          at::ScalarType dtype) {
    const GaussianSetting g(c, make_path(c->level_max(), "flow"), sample);
    std::vector<int64_t> shape = {2};
    shape.insert(shape.end(), sample.begin(), sample.end());
    const at::Tensor x = noise(shape, 1, dtype);
    return failure([&] { one_step(g, {"ancestral", markov}, t, s, x, x, x); });
  };
  const auto sentence = [](const std::string& s, const std::string& t) {
    return "plugin \"ancestral\": step failed: posterior = \"markov\" needs a corruption that only scales images, as "
           "\"scale\" does, but that of this run does more between t = " +
           s + " and " + t + "; use posterior = \"accumulating\" (parameter \"posterior\")";
  };
  const SampleShape grey = {1, 8, 8}, colour = {3, 8, 8};
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    for (const std::string id : {"heat_blur", "gaussian_blur", "motion_blur", "soft_mask", "box_mask", "patch_mask",
                                 "pixel_mask", "downsample", "grayscale", "fade"}) {
      INFO(id);
      const SampleShape& sample = id == "grayscale" ? colour : grey;
      CHECK(refusal(corruption(id, "", sample), sample, 0.75, 0.5, dtype) == sentence("0.500000", "0.750000"));
    }
    // Where the image is gone at t, what C does shows at s; where C does nothing at s, at t.
    CHECK(refusal(composition({{"heat_blur", ""}, {"scale", ""}}, grey), grey, 1, 0.5, dtype) ==
          sentence("0.500000", "1.000000"));
    CHECK(refusal(corruption("heat_blur", "", grey), grey, 0.25, 0, dtype) == sentence("0.000000", "0.250000"));
    CHECK(refusal(composition({{"scale", ""}, {"identity", ""}}, grey), grey, 0.75, 0.5, dtype) == "no failure");
    CHECK(refusal(corruption("heat_blur", "", {1, 1, 1}), {1, 1, 1}, 0.75, 0.5, dtype) == "no failure");  // one pixel
  }
}

TEST_CASE("both posteriors keep the laws of samplers") {
  const Plugin& ancestral = plugin("ancestral");
  for (const std::string posterior : {"accumulating", "markov"}) {
    for (const SampleShape& shape : {SampleShape{1, 8, 8}, {3, 5, 4}, {1, 1, 1}}) {
      for (const LawResult& law :
           check_laws(ancestral, settings(ancestral, "posterior = \"" + posterior + "\""), shape)) {
        INFO(posterior << ": " << law.id << ": " << law.detail);
        CHECK(law.holds);
      }
    }
  }
}

namespace {

// Smooth images, dark with a bright part as those of Fashion-MNIST are, and the exact linear denoiser of their law.
struct Fitted {
  Fitted(const std::string& path, const std::string& sampler, int64_t steps)
      : pipeline(parse("[run]\nprecision = \"float64\"\n[data]\ntype = \"idx\"\npath = \"none\"\n"
                       "[corruption]\ntype = \"scale\"\n[schedule]\ntype = \"vp\"\npath = \"" +
                       path + "\"\n[model]\ntype = \"wiener\"\nsource = \"data\"\n[sampler]\ntype = \"" + sampler +
                       fmt::format("\"\n[sample]\nsteps = {}\nprior = \"noise\"\n", steps))),
        images(dark_images(256)),
        source(images),
        corruption(make_corruption(pipeline, shape)),
        data(source, *corruption, at::kDouble, calibration_images, 256, 3),
        process(corruption, select_path(pipeline, data)),
        model(make_model(pipeline, shape)),
        params(storage(model)) {
    model.fit(params, data, *corruption);
    params.changed();
  }

  // From the path's own start for `prior = "noise"`, the same for every sampler.
  at::Tensor samples(int64_t count) const {
    std::vector<uint64_t> sample, keys;
    for (int64_t i = 0; i < count; ++i) {
      sample.push_back(static_cast<uint64_t>(i));
      keys.push_back(key_of(3, sample.back()));
    }
    const at::Tensor x_1 =
        process.path().sigma(1) * normal_like(at::zeros({count, 1, 8, 8}, at::kDouble), 3, Purpose::prior, sample, 0);
    TrajectoryOptions options;
    options.nodes = sampling_nodes(process.path(), pipeline.sample.integer("steps"));
    return run_trajectory(Denoiser(model, params, process), make_sampler(pipeline.sampler), x_1, keys, sample, options)
        .x;
  }

  static at::Tensor dark_images(int64_t n) {
    const at::Tensor p = dct(noise({n, 1, 8, 8}, 5)), k = at::arange(8, at::kDouble).square();
    return (inverse_dct(p / (1 + k.view({8, 1}) + k.view({1, 8}))) * 4 - 0.4).clamp(-1, 1);
  }

  inline static const SampleShape shape = {1, 8, 8};
  Pipeline pipeline;
  at::Tensor images;
  MemorySource source;
  std::shared_ptr<const Corruption> corruption;
  DataCalibration data;
  Process process;
  Model model;
  ParamSet params;
};

}  // namespace

TEST_CASE("euler follows the variance-preserving paths to where ddim comes, from noise on") {
  for (const std::string path : {"linear_beta", "cosine"}) {
    INFO(path);
    const at::Tensor euler = Fitted(path, "euler", 50).samples(64), ddim = Fitted(path, "ddim", 50).samples(64);
    CHECK(euler.mean().item<double>() == Approx(ddim.mean().item<double>()).margin(0.05));
    CHECK(euler.std().item<double>() == Approx(ddim.std().item<double>()).margin(0.05));
  }
}

// W2 to the truth at t = 0, and what is left there of one unit of the lowest frequency at t = 1.
TEST_CASE("DDPM's posterior forgets the start, and comes as near to Gaussian data as the accumulating one") {
  const GaussianSetting g = variance_preserving(linear_beta);
  const at::Tensor unit = inverse_dct(at::ones({1, 1, 16, 16}, at::kDouble));
  const auto none = [](uint32_t, uint32_t, at::Tensor& out) { return out.zero_(), true; };
  const auto left = [&](const SamplerChoice& sampler, int64_t steps) {
    return dct(run(g, sampler, unit, nodes_to_zero(steps), none).x).flatten()[0].item<double>();
  };
  const SamplerChoice accumulating{"ancestral", "", 1}, ddpm{"ancestral", markov, 1};
  CHECK(std::abs(diagonal_error(g, accumulating, 10) - 0.697) <= 1e-3);
  CHECK(std::abs(diagonal_error(g, ddpm, 10) - 0.720) <= 1e-3);
  CHECK(std::abs(diagonal_error(g, accumulating, 100) - 0.239) <= 1e-3);
  CHECK(std::abs(diagonal_error(g, ddpm, 100) - 0.241) <= 1e-3);
  CHECK(left(accumulating, 100) == Approx(0.601).margin(1e-3));
  CHECK(left(ddpm, 100) == Approx(0.0066).margin(1e-4));
}
