#include "core/evaluation/samples.hpp"

#include <cmath>
#include <set>

#include "core/training/tensors.hpp"
#include "tests/training/training.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;
namespace fs = std::filesystem;

namespace {

// The exact model of the 20 images.
struct Fixture {
  explicit Fixture(const std::vector<std::string>& overrides = {})
      : pipeline(fitted(overrides)), model(make_model(pipeline, {1, 4, 4})) {
    train(pipeline, folder / "run");
    trained = load_trained(pipeline, *newest_checkpoint(folder / "run/checkpoints"), model);
  }
  static Pipeline fitted(std::vector<std::string> overrides) {
    overrides.insert(overrides.begin(), {"~train", "model={type = \"empirical\", count = 20}"});
    return training(overrides);
  }
  SampleSet draw(int64_t count) const {
    return draw_samples(pipeline, model, *trained, pipeline.sampler, {count, nullptr, {}});
  }

  TemporaryFolder folder;
  Pipeline pipeline;
  Model model;
  std::unique_ptr<TrainedModel> trained;
};

std::vector<std::vector<uint8_t>> pixels(const SampleSet& set) {
  std::vector<std::vector<uint8_t>> all;
  for (const ByteImage& image : set.images) all.push_back(image.pixels);
  return all;
}

}  // namespace

TEST_CASE("numbers become the nearest byte, and what is outside is clamped") {
  const std::vector<ByteImage> images = to_byte_images(tensor({2, 1, 1, 3}, {-1, 1, 0.001, -7, 7, -0.5}));
  REQUIRE(images.size() == 2);
  CHECK(images[0].shape == ImageShape{1, 1, 3});
  CHECK(images[0].pixels == std::vector<uint8_t>({0, 255, 128}));
  CHECK(images[1].pixels == std::vector<uint8_t>({0, 255, 64}));
}

TEST_CASE("samples do not depend on the batch, and more of them begin with the same") {
  const Fixture one({"+sample.batch=3"}), other({"+sample.batch=64"});
  const auto seven = pixels(one.draw(7)), ten = pixels(other.draw(10));
  REQUIRE(seven.size() == 7);
  REQUIRE(ten.size() == 10);
  for (size_t i = 0; i < seven.size(); ++i) CHECK(seven[i] == ten[i]);
  CHECK(pixels(Fixture({"+sample.seed=99"}).draw(7)) != seven);
}

TEST_CASE("the training image that a trajectory starts from is known, for the empirical prior") {
  const Fixture f({"+sample.prior=empirical", "+sample.seed=11", "corruption.std_max=0.5", "noise.sigma_max=0.06"});
  const std::vector<int64_t> sources = prior_sources(f.pipeline, *f.trained, *images(), 25);
  REQUIRE(sources.size() == 25);
  CHECK(std::set<int64_t>(sources.begin(), sources.begin() + 20).size() == 20);
  CHECK(sources[20] == sources[0]);  // the pool is used again
  const Start start = make_prior(f.pipeline, *f.trained).draw(0, 20, at::TensorOptions(at::kDouble));
  const at::Tensor x_0 = read_batch(*images(), std::span(sources).first(20)).to(at::kDouble);
  const Points end = f.trained->process->at(1, start.keys);
  const at::Tensor noise = start.x_1 - f.trained->process->corrupt(end, x_0);  // sigma_1 eps, and nothing of an image
  CHECK(std::sqrt(noise.square().mean().item<double>()) == Approx(0.06).epsilon(0.2));
  CHECK(prior_sources(Fixture({"+sample.prior=noise"}).pipeline, *f.trained, *images(), 3).empty());
}

TEST_CASE("trajectories start where the path ends, also below the corruption's largest level") {
  const Fixture f({"corruption={type = \"scale\"}", "~noise", "+sample.prior=empirical", "+sample.seed=11",
                   "schedule={type = \"vp\", path = \"linear_beta\", beta_min = 0.1, beta_max = 0.1}"});
  CHECK(f.trained->process->path().level(1) == Approx(1 - std::exp(-0.05)));
  const std::vector<int64_t> sources = prior_sources(f.pipeline, *f.trained, *images(), 20);
  const Start start = make_prior(f.pipeline, *f.trained).draw(0, 20, at::TensorOptions(at::kDouble));
  const at::Tensor noise = start.x_1 - read_batch(*images(), sources).to(at::kDouble) * std::exp(-0.05);
  CHECK(std::sqrt(noise.square().mean().item<double>()) == Approx(std::sqrt(1 - std::exp(-0.1))).epsilon(0.1));
}

TEST_CASE("progress goes to the number of images, and a request to stop ends the drawing") {
  const Fixture f({"+sample.batch=3"});
  std::vector<int64_t> seen;
  std::atomic<bool> cancel{false};
  const SampleRequest request{7, &cancel, [&](int64_t done) { seen.push_back(done); }};
  draw_samples(f.pipeline, f.model, *f.trained, f.pipeline.sampler, request);
  CHECK(seen.back() == 7);
  CHECK(std::is_sorted(seen.begin(), seen.end()));
  cancel = true;
  CHECK_THROWS_AS(draw_samples(f.pipeline, f.model, *f.trained, f.pipeline.sampler, request), Cancelled);
}

TEST_CASE("evaluations are counted by running the sampler, and are those of a real run") {
  const Fixture f;
  for (const char* id : {"naive", "momentum", "ancestral", "ddim", "multistep"}) {
    const Plugin* plugin = with_breaking().find(SDP_KIND_SAMPLER, id);
    const PluginChoice choice{plugin, default_settings(plugin->schema), {}};
    CHECK(count_nfe(choice, 4) == draw_samples(f.pipeline, f.model, *f.trained, choice, {1, nullptr, {}}).nfe);
    CHECK(count_nfe(choice, 1) == 1);
    CHECK(count_nfe(choice, 25) == 25);
  }
  for (const char* id : {"heun", "langevin"}) {  // two a step, and one for the last denoise
    const Plugin* plugin = with_breaking().find(SDP_KIND_SAMPLER, id);
    const PluginChoice choice{plugin, default_settings(plugin->schema), {}};
    CHECK(count_nfe(choice, 4) == draw_samples(f.pipeline, f.model, *f.trained, choice, {1, nullptr, {}}).nfe);
    CHECK(count_nfe(choice, 1) == 1);
    CHECK(count_nfe(choice, 25) == 49);
  }
}

TEST_CASE("where a sampler chooses its steps by batch, the evaluations are the mean over the images") {
  const Fixture f({"sampler={type = \"euler\", tolerance = 1e-3}", "+sample.batch=5"});
  TrajectoryOptions options;
  options.nodes = sampling_nodes(f.trained->process->path(), 4);
  options.seed = 3;
  const Denoiser denoiser(f.model, f.trained->ema.views(), *f.trained->process);
  const Sampler sampler = make_sampler(f.pipeline.sampler);
  const auto nfe = [&](const std::vector<uint64_t>& numbers) {
    const Start start = make_prior(f.pipeline, *f.trained)
                            .draw(numbers[0], static_cast<int64_t>(numbers.size()), at::TensorOptions(at::kDouble));
    return run_trajectory(denoiser, sampler, start.x_1, start.keys, numbers, options).nfe;
  };
  const int64_t five = nfe({0, 1, 2, 3, 4}), one = nfe({5});
  REQUIRE(five != one);
  CHECK(f.draw(6).nfe == std::llround(static_cast<double>(5 * five + one) / 6));
}

TEST_CASE("a trajectory that diverged is no black picture but a failure") {
  const TemporaryFolder folder;
  const Pipeline pipeline = training({"+sample.batch=4"});
  train(pipeline, folder / "run");
  const Model model = make_model(pipeline, {1, 4, 4});
  const auto trained = load_trained(pipeline, *newest_checkpoint(folder / "run/checkpoints"), model);
  const auto message = [&] {
    return message_of<PluginFailure>([&] {
      draw_samples(pipeline, model, *trained, pipeline.sampler, {6, nullptr, {}});
    });
  };
  CHECK(message() == "no such error");
  trained->ema.flat().fill_(std::nan(""));
  set_finite_check(0);  // the spot check of every 64th call sees this at once, but not what comes late
  CHECK(message() ==
        "sampler \"ddim\" diverged: images 0 to 3 have values that are not finite; take more steps, or sample.clamp = "
        "true");
  set_finite_check(1);
}

TEST_CASE("files of samples replace an earlier, longer set") {
  const Fixture f;
  const TemporaryFolder folder;
  write_sample_files(folder.path(), f.draw(5).images);
  CHECK(fs::exists(folder / "sample-0004.png"));
  write_file(folder / "sample-report.txt", "the user's own");
  const SampleSet three = f.draw(3);
  write_sample_files(folder.path(), three.images);
  CHECK(fs::exists(folder / "sample-0002.png"));
  CHECK_FALSE(fs::exists(folder / "sample-0003.png"));
  CHECK(fs::exists(folder / "sample-report.txt"));
  CHECK(to_bytes(read_image(folder / "sample-0001.png")).pixels == three.images[1].pixels);
  const FloatImage grid = read_image(folder / "grid.png");
  CHECK(grid.shape.width > 2 * 4);
  CHECK(grid.shape.height > 2 * 4);
}

TEST_CASE("along the path an image is seen ever less, and the exact model knows it at the start") {
  const Fixture f;
  const at::Tensor x_0 = read_batch(*images(), std::vector<int64_t>{2, 5}).to(at::kDouble);
  const AlongPath along = along_path(f.model, *f.trained, x_0, {0.0, 0.5, 1.0}, 1);
  REQUIRE(along.x_t.size() == 2);
  REQUIRE(along.x_t[0].size() == 3);
  const std::vector<ByteImage> truth = to_byte_images(x_0);
  for (size_t i = 0; i < 2; ++i) {
    CHECK(along.x0_hat[i][0].pixels == truth[i].pixels);
    CHECK(along.x_t[i][0].pixels != truth[i].pixels);  // noise
    CHECK(along.x_t[i][2].pixels != along.x_t[i][0].pixels);
  }
}

TEST_CASE("a trained model is refused where its checkpoint lacks a part") {
  const Fixture f;
  StoredCheckpoint checkpoint = *newest_checkpoint(f.folder / "run/checkpoints");
  CHECK(stored_shape(checkpoint) == SampleShape({1, 4, 4}));
  const auto without = [&](const char* name) {
    StoredCheckpoint less = checkpoint;
    less.files.erase(name);
    return message_of<CheckpointError>([&] { load_trained(f.pipeline, less, f.model); });
  };
  for (const char* name : {"process.safetensors", "model.safetensors", "state.json"}) {
    CHECK(without(name) == fmt::format("checkpoint {} holds no {}", checkpoint.folder.string(), name));
  }
  StoredCheckpoint strange = checkpoint;
  strange.files["process.safetensors"] =
      pack_tensors({{"prior.mean", noise({1, 4, 4}, 1)}, {"path.level", noise({5}, 1)}});
  CHECK(message_of<CheckpointError>([&] { load_trained(f.pipeline, strange, f.model); }) ==
        checkpoint.folder.string() + "/process.safetensors: \"path.sigma\" is missing or misshapen");
}
