#include "core/diffusion/trajectory.hpp"

#include <ATen/ops/cat.h>

#include "tests/diffusion/setup.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const std::vector<std::string> samplers = {"naive", "momentum", "ancestral", "ddim", "multistep"};

// An exact model, its process, and starts for six trajectories.
struct Fixture {
  explicit Fixture(const Text& text = {}, const SampleShape& shape = {1, 4, 4})
      : setup(text, shape),
        model(make_model(setup.pipeline, shape)),
        params(storage(model)),
        denoiser(model, params, setup.process) {
    model.init(params, 0);
    params.changed();
    x_1 = noise({6, shape[0], shape[1], shape[2]}, 3);
    options.nodes = sampling_nodes(setup.process.path(), 5);
    options.seed = 4;
  }

  Trajectory run(const std::string& sampler, int64_t first = 0, int64_t n = 6) const {
    std::vector<uint64_t> sample, keys;
    for (int64_t i = first; i < first + n; ++i) {
      sample.push_back(static_cast<uint64_t>(i));
      keys.push_back(key_of(4, static_cast<uint64_t>(i)));
    }
    const Sampler made(*built_in().find(SDP_KIND_SAMPLER, sampler),
                       default_settings(built_in().find(SDP_KIND_SAMPLER, sampler)->schema));
    return run_trajectory(denoiser, made, x_1.slice(0, first, first + n).contiguous(), keys, sample, options);
  }

  Setup setup;
  Model model;
  ParamSet params;
  Denoiser denoiser;
  at::Tensor x_1;
  TrajectoryOptions options;
};

// Blur and masked pixels, one after the other, and the model that is exact for any C.
Text composed() {
  Text text;
  text.corruption =
      "[[corruption]]\ntype = \"heat_blur\"\nstd_max = 2.0\n[[corruption]]\ntype = \"pixel_mask\"\nfraction_max = "
      "0.7\nfrom = 0.5\n";
  text.model = "[model]\ntype = \"wiener\"\nsource = \"power_law\"\nbasis = \"dense\"\n";
  return text;
}

}  // namespace

TEST_CASE("N steps cost N evaluations of the model, the last denoise included") {
  Fixture f;
  for (const std::string& sampler : samplers) {
    for (const int64_t steps : {1, 2, 5, 12}) {
      f.options.nodes = sampling_nodes(f.setup.process.path(), steps);
      f.options.last_denoise = true;
      CHECK(f.run(sampler).nfe == steps);
      f.options.last_denoise = false;
      CHECK(f.run(sampler).nfe == steps - 1);
    }
  }
}

TEST_CASE("the sample is x0_hat at the first node") {
  Fixture f;
  for (const std::string& sampler : samplers) {
    const at::Tensor sample = f.run(sampler).x;
    f.options.last_denoise = false;
    const at::Tensor x = f.run(sampler).x;
    f.options.last_denoise = true;
    std::vector<uint64_t> keys;
    for (uint64_t i = 0; i < 6; ++i) keys.push_back(key_of(4, i));
    CHECK(bit_equal(f.denoiser.x0_hat(f.setup.process.at(f.options.nodes.front(), keys), x), sample));
    CHECK_FALSE(bit_equal(x, sample));
  }
  f.options.nodes = {1};  // one step: the start, denoised
  CHECK(bit_equal(f.run("naive").x, f.run("ddim").x));
}

TEST_CASE("clamp limits every estimate to [-1, 1]") {
  Text wide;
  wide.model += "amplitude = 100.0\n";
  Fixture f(wide);
  f.x_1 *= 8;
  for (const std::string& sampler : samplers) {
    f.options.clamp = false;
    CHECK(f.run(sampler).x.abs().max().item<double>() > 1.5);
    f.options.clamp = true;
    CHECK(f.run(sampler).x.abs().max().item<double>() <= 1);
  }
}

TEST_CASE("a sample does not depend on the batch that it was drawn in") {
  for (const Text& text : {Text{}, composed()}) {
    const Fixture f(text);
    for (const std::string& sampler : samplers) {
      const at::Tensor whole = f.run(sampler).x;
      CHECK(bit_equal(at::cat({f.run(sampler, 0, 1).x, f.run(sampler, 1, 3).x, f.run(sampler, 4, 2).x}), whole));
    }
  }
}

TEST_CASE("samplers with noise draw by seed, those without do not care") {
  Fixture f;
  for (const std::string& sampler : samplers) {
    f.options.seed = 4;
    const at::Tensor before = f.run(sampler).x;
    CHECK(bit_equal(f.run(sampler).x, before));
    f.options.seed = 5;
    const bool noisy = sampler == "naive" || sampler == "momentum" || sampler == "ancestral";
    CHECK(bit_equal(f.run(sampler).x, before) == !noisy);
  }
}

TEST_CASE("the start is left as it was") {
  const Fixture f;
  const at::Tensor before = f.x_1.clone();
  for (const std::string& sampler : samplers) f.run(sampler);
  CHECK(bit_equal(before, f.x_1));
}

TEST_CASE("a request to stop ends a trajectory with Cancelled, at once or in its middle") {
  Fixture f;
  std::atomic<bool> cancel{true};
  f.options.cancel = &cancel;
  for (const std::string& sampler : samplers) {
    cancel = true;
    CHECK_THROWS_AS(f.run(sampler), Cancelled);
    cancel = false;
    int64_t last = 0;
    f.options.progress = [&](int64_t done, int64_t) {
      last = done;
      if (done == 3) cancel = true;
    };
    CHECK_THROWS_AS(f.run(sampler), Cancelled);
    CHECK(last == 3);
    f.options.progress = {};
  }
}

TEST_CASE("progress counts the steps to the last") {
  Fixture f;
  std::vector<std::pair<int64_t, int64_t>> seen;
  f.options.progress = [&](int64_t done, int64_t total) { seen.emplace_back(done, total); };
  f.run("ddim");
  CHECK(seen == std::vector<std::pair<int64_t, int64_t>>({{1, 5}, {2, 5}, {3, 5}, {4, 5}, {5, 5}}));
}

TEST_CASE("a composition runs under every sampler, and its adjoint is one") {
  const Fixture f(composed());
  CHECK(f.setup.corruption->level_max() == 1);
  const Points at = f.setup.process.at(0.8, {1, 2, 3, 4, 5, 6});
  const at::Tensor x = noise({6, 1, 4, 4}, 8), y = noise({6, 1, 4, 4}, 9);
  const double left = (f.setup.process.corrupt(at, x) * y).sum().item<double>(),
               right = (x * f.setup.process.adjoint(at, y)).sum().item<double>();
  CHECK(left == Approx(right).epsilon(1e-13));
  for (const std::string& sampler : samplers) CHECK(f.run(sampler).x.isfinite().all().item<bool>());
}
