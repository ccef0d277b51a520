// Training under another meaning of the network's output: gradients, checkpoints, and what does not fit together.
#include "core/training/tensors.hpp"
#include "tests/training/training.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

const std::string network =
    "model={type = \"unet\", channels = 4, multipliers = [1], blocks = 1, groups = 2, "
    "middle_attention = false}";
const std::string mask = "corruption={type = \"pixel_mask\"}";

std::vector<std::string> with(const std::string& name, std::vector<std::string> more = {}) {
  more.insert(more.end(), {network, "+train.parametrisation=" + name});
  return more;
}

NamedTensors process_of(const Outcome& outcome) {
  return unpack_tensors(outcome.checkpoint.at("process.safetensors"), "process.safetensors");
}

std::vector<std::string> names_in(const NamedTensors& tensors) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) {
    if (name.starts_with("parametrisation.")) names.push_back(name);
  }
  return names;
}

}  // namespace

TEST_CASE("the gradient of every parameter is the derivative of the step's loss, whatever the parametrisation") {
  for (const char* name : {"residual", "scaled", "linear"}) {
    for (const char* loss_at : {"clean", "corrupted", "next"}) {
      const Pipeline pipeline =
          training(with(name, {std::string("+train.loss_at=") + loss_at, "+train.clean_weight=0.1"}));
      const auto source = images();
      const auto corruption = make_corruption(pipeline, {1, 4, 4});
      const DataCalibration data(*source, *corruption, tensor_options(pipeline), 20, 20, 1);
      const Process process(corruption, select_path(pipeline, data));
      const Parametrisation parametrisation = Parametrisation::estimate(name, process, data, 1);
      const Model model = make_model(pipeline, {1, 4, 4});
      const Layout layout(model.params());
      FlatParameters weights(layout, tensor_options(pipeline)), gradients(layout, weights), unused(layout, weights);
      model.init(weights.views(), 3);
      const at::Tensor direction = noise({weights.flat().numel()}, 4);
      weights.flat().add_(noise({weights.flat().numel()}, 5), 0.1);  // away from layers that begin at 0
      const at::Tensor begun = weights.flat().clone();
      const Objective objective(process, objective_options(*pipeline.train));
      const at::Tensor x_0 = data.batch(0).slice(0, 0, 4).contiguous();
      const TrainingDraw draw = objective.draw(x_0, 1, 0, 0);
      CallScope scope;
      scope.corruption = &process.corruption();
      const auto loss = [&](double h, FlatParameters& into) {
        weights.flat().copy_(begun + h * direction);
        weights.views().changed();
        const ModelCall call{weights.views(), draw.at, scope, true};
        return loss_with_gradients(model, call, process, parametrisation, objective, draw, x_0, into.views()).value;
      };
      const double h = 1e-6, slope = (loss(h, unused) - loss(-h, unused)) / (2 * h);
      loss(0, gradients);
      CAPTURE(name, loss_at);
      CHECK((gradients.flat() * direction).sum().item<double>() == Approx(slope).epsilon(1e-6));
      CHECK(std::abs(slope) > 1e-3);
    }
  }
}

TEST_CASE("a checkpoint holds what its parametrisation needs, and nothing for residual") {
  const auto names = [](const std::vector<std::string>& overrides) {
    const TemporaryFolder folder;
    const Capture capture;
    return names_in(process_of(train(training(overrides), folder / "run")));
  };
  using Words = std::vector<std::string>;
  CHECK(names(with("residual")).empty());
  CHECK(names(with("scaled")) ==
        Words{"parametrisation.input", "parametrisation.mean", "parametrisation.scale", "parametrisation.skip"});
  CHECK(names(with("linear")) == Words{"parametrisation.dct_variance", "parametrisation.mean"});
  CHECK(names(with("linear", {mask})) == Words{"parametrisation.mean", "parametrisation.pixel_variance"});
}

TEST_CASE("a training under any parametrisation that was stopped goes on to the same bytes") {
  for (const char* name : {"scaled", "linear"}) {
    for (const char* precision : {"float64", "float32"}) {
      const std::vector<std::string> overrides = with(name, {std::string("run.precision=") + precision});
      const TemporaryFolder folder;
      const Capture capture;
      const Outcome whole = train(training(overrides), folder / "whole");
      CHECK_THROWS_AS(train(training(overrides), folder / "two", 24), Stopped);
      CAPTURE(name, precision);
      CHECK(train(training(overrides), folder / "two").checkpoint == whole.checkpoint);
    }
  }
}

TEST_CASE("a trained model samples by its own parametrisation, and another one is refused") {
  const TemporaryFolder folder;
  const Capture capture;
  const Pipeline pipeline = training(with("scaled"));
  train(pipeline, folder / "run");
  const RunFolder run(folder / "run");
  const Model model = make_model(pipeline, {1, 4, 4});
  const auto trained = load_trained(pipeline, checkpoint_of_run(run.path()), model);
  CHECK(trained->parametrisation.name() == "scaled");
  const at::Tensor x = noise({2, 1, 4, 4}, 1);
  const Points at = trained->process->at(0.7, {1, 2});
  const Denoiser residual(model, trained->ema.for_model(), *trained->process);
  CHECK(
      bit_equal(trained->denoiser(model).x0_hat(at, x),
                Denoiser(model, trained->ema.for_model(), *trained->process, trained->parametrisation).x0_hat(at, x)));
  CHECK(largest_difference(trained->denoiser(model).x0_hat(at, x), residual.x0_hat(at, x)) > 1e-3);
  for (const std::string other : {"residual", "linear"}) {
    const StoredCheckpoint checkpoint = checkpoint_of_run(run.path());
    CHECK(message_of<CheckpointError>([&] { load_trained(training(with(other)), checkpoint, model); }) ==
          checkpoint.folder.string() +
              "/process.safetensors: these weights were trained with train.parametrisation = \"scaled\", and the "
              "pipeline says \"" +
              other + "\"; set train.parametrisation = \"scaled\", or train anew with --fresh");
  }
}

TEST_CASE("linear without a basis says how it finds its estimate, once, when the training begins") {
  const std::string both = "corruption=[{type = \"heat_blur\", std_max = 2.0}, {type = \"pixel_mask\"}]";
  const TemporaryFolder folder;
  Capture capture;
  const Outcome outcome = train(training(with("linear", {both, "train.images=16"})), folder / "run");
  CHECK(
      capture.text().starts_with("train.parametrisation = \"linear\": the corruption is diagonal neither in the DCT"));
  CHECK(names_in(process_of(outcome)) == std::vector<std::string>{"parametrisation.dct_variance",
                                                                  "parametrisation.input", "parametrisation.mean",
                                                                  "parametrisation.scale"});
}
