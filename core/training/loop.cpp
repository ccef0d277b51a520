#include "core/training/loop.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>

#include <chrono>
#include <cmath>

#include "core/base/cpu.hpp"
#include "core/base/json.hpp"
#include "core/base/log.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/diffusion/table.hpp"
#include "core/diffusion/trajectory.hpp"
#include "core/host/gpu.hpp"
#include "core/training/tensors.hpp"

namespace sdpipe {
namespace {

constexpr int64_t patience = 20;  // steps in a row that may fail before the run ends, whatever on_nonfinite says

Json to_json(const TrainingState& s) {
  return {{"format", 1},
          {"step", s.step},
          {"updates", s.updates},
          {"images", s.images},
          {"epoch", s.loader.epoch},
          {"position", s.loader.position},
          {"window_loss", s.window_loss},
          {"window_steps", s.window_steps},
          {"failures", s.failures},
          {"threads", s.threads},
          {"device", s.device}};
}

TrainingState state_from(const std::string& text, const std::string& file) {
  try {
    const Json j = Json::parse(text);
    return {j.at("step"),
            j.at("updates"),
            j.at("images"),
            {j.at("epoch"), j.at("position")},
            j.at("window_loss"),
            j.at("window_steps"),
            j.at("failures"),
            j.at("threads"),
            j.value("device", kind_of(at::kCPU))};
  } catch (const JsonError& e) {
    throw CheckpointError(fmt::format("{}: {}", file, e.what()));
  }
}

std::string finite_or_null(double value) { return std::isfinite(value) ? Json(value).dump() : "null"; }

std::vector<double> table_from(const NamedTensors& tensors, const char* name, size_t size, const std::string& file) {
  const auto it = tensors.find(name);
  if (it == tensors.end() || it->second.scalar_type() != at::kDouble || it->second.dim() != 1 ||
      it->second.numel() != static_cast<int64_t>(size)) {
    throw CheckpointError(fmt::format("{}: \"{}\" is missing or misshapen", file, name));
  }
  return table_values(it->second);
}

const std::string& content_of(const StoredCheckpoint& checkpoint, const std::string& name) {
  const auto it = checkpoint.files.find(name);
  if (it == checkpoint.files.end())
    throw CheckpointError(fmt::format("checkpoint {} holds no {}", checkpoint.folder.string(), name));
  return it->second;
}

NamedTensors tensors_of(const StoredCheckpoint& checkpoint, const std::string& name) {
  return unpack_tensors(content_of(checkpoint, name), (checkpoint.folder / name).string());
}

PriorStatistics prior_of(const StoredCheckpoint& checkpoint, const NamedTensors& process) {
  PriorStatistics prior = PriorStatistics::from(process);
  if (prior.mean.defined() && prior.mean.dim() == 3) return prior;
  throw CheckpointError(
      fmt::format("{}: \"prior.mean\" is missing or misshapen", (checkpoint.folder / "process.safetensors").string()));
}

// Weights mean something else under another parametrisation.
void require_same_parametrisation(const Pipeline& pipeline, const Parametrisation& stored, const std::string& file) {
  const std::string wanted = parametrisation_of(pipeline);
  if (stored.name() == wanted) return;
  throw CheckpointError(fmt::format(
      "{}: these weights were trained with train.parametrisation = \"{}\", and the pipeline says \"{}\"; set "
      "train.parametrisation = \"{}\", or train anew with --fresh",
      file, stored.name(), wanted, stored.name()));
}

// Of the parameters of a run.
at::TensorOptions parameter_options(const Pipeline& pipeline, const Model& model) {
  const at::TensorOptions options = tensor_options(pipeline);
  return options.device(model.parameter_device(options.device()));
}

void apply_precision(const Pipeline& pipeline, const Layout& layout, FlatParameters& weights) {
  if (narrows_parameters(pipeline)) weights.narrow(layout);
}

void load_weights(const StoredCheckpoint& checkpoint, const std::string& name, const Layout& layout,
                  FlatParameters& weights) {
  const std::string file = (checkpoint.folder / name).string();
  weights.load(layout, view_tensors(content_of(checkpoint, name), file), file);
}

}  // namespace

SampleShape stored_shape(const StoredCheckpoint& checkpoint) {
  return prior_of(checkpoint, tensors_of(checkpoint, "process.safetensors")).mean.sizes().vec();
}

std::unique_ptr<TrainedModel> load_trained(const Pipeline& pipeline, StoredCheckpoint checkpoint, const Model& model) {
  const std::string file = (checkpoint.folder / "process.safetensors").string();
  const NamedTensors process = tensors_of(checkpoint, "process.safetensors");
  PriorStatistics prior = prior_of(checkpoint, process);
  const Layout layout(model.params());
  FlatParameters ema(layout, parameter_options(pipeline, model));
  const bool averaged = checkpoint.files.contains("ema.safetensors");
  load_weights(checkpoint, averaged ? "ema.safetensors" : "model.safetensors", layout, ema);
  apply_precision(pipeline, layout, ema);
  auto corruption = make_corruption(pipeline, prior.mean.sizes().vec());
  Path path(table_from(process, "path.level", path_points, file), table_from(process, "path.sigma", path_points, file));
  Parametrisation parametrisation = Parametrisation::from(process, prior.mean.sizes().vec(), file);
  require_same_parametrisation(pipeline, parametrisation, file);
  return std::make_unique<TrainedModel>(TrainedModel{
      std::make_shared<Process>(std::move(corruption), std::move(path)), std::move(prior), layout, std::move(ema),
      state_from(content_of(checkpoint, "state.json"), (checkpoint.folder / "state.json").string()),
      std::move(parametrisation)});
}

TrainingLoop::TrainingLoop(const Pipeline& pipeline, std::shared_ptr<const Source> source, const Model& model,
                           const RunFolder& folder)
    : pipeline_(pipeline),
      source_(std::move(source)),
      model_(model),
      folder_(folder),
      store_(folder.checkpoints()),
      seed_(static_cast<uint64_t>(pipeline.run.integer("seed"))) {
  if (pipeline.train) optimizer_ = optimizer_options(*pipeline.train);
}

TrainedModel& TrainingLoop::run(const std::atomic<bool>& stop,
                                const std::function<void(const TrainingProgress&)>& progress) {
  if (auto checkpoint = store_.newest()) {
    resume(std::move(*checkpoint));
    require_samplable();
  } else {
    begin(stop);
  }
  if (narrows_parameters(pipeline_) && device_of(pipeline_).is_cpu() && !multiplies_bfloat16())
    log_warning(
        "this CPU does not multiply bfloat16, so that run.precision = \"bfloat16\" is slower here than float32");
  if (pipeline_.train) train(stop, progress);
  return *trained_;
}

void TrainingLoop::begin_with(const NamedTensors& weights, const std::atomic<bool>& stop) {
  begin(stop, &weights);
  save();
}

void TrainingLoop::begin(const std::atomic<bool>& stop, const NamedTensors* weights) {
  const SampleShape shape = sample_shape(source_->shape());
  const at::TensorOptions options = tensor_options(pipeline_);
  auto corruption = make_corruption(pipeline_, shape);
  const DataCalibration data(*source_, *corruption, options, calibration_images, calibration_batch, seed_);
  auto process = std::make_shared<Process>(corruption, select_path(pipeline_, data, &stop));
  const Layout layout(model_.params());
  FlatParameters ema(layout, parameter_options(pipeline_, model_));
  located(pipeline_.model, [&] {
    if (weights)
      ema.load(layout, *weights, "what is imported");
    else if (model_.is_fitted())
      model_.fit(ema.views(), data, *corruption, &stop);
    else
      model_.init(ema.views(), seed_);
  });
  ema.views().changed();
  if (pipeline_.train) {
    params_ = std::make_unique<FlatParameters>(layout, ema);
    params_->flat().copy_(ema.flat());
    params_->views().changed();
    apply_precision(pipeline_, layout, *params_);
    moments_ = {at::zeros_like(params_->flat()), at::zeros_like(params_->flat())};
  }
  apply_precision(pipeline_, layout, ema);
  PriorStatistics prior = PriorStatistics::estimate(data, process->path().level(1));
  prior.mixture = fit_start(prior, *process, stop);
  Parametrisation parametrisation =
      Parametrisation::estimate(parametrisation_of(pipeline_), *process, data, seed_, &stop);
  if (const std::string note = parametrisation.describe(); !note.empty()) log_info(note);
  trained_ = std::make_unique<TrainedModel>(
      TrainedModel{process, std::move(prior), layout, std::move(ema), {}, std::move(parametrisation)});
  trained_->state.threads = at::get_num_threads();
  trained_->state.device = kind_of(device_of(pipeline_));
  require_samplable();
  cut_log(folder_.metrics_file(), [](const std::string&) { return false; });
  // Fitted, and so complete; or a place to go back to from the first step on.
  if (!pipeline_.train || pipeline_.train->text("on_nonfinite") == "rewind") save();
}

// The start of prior = mixture, which checkpoints hold whatever sample.prior says, where there are images enough for
// it.
std::optional<MixtureStart> TrainingLoop::fit_start(const PriorStatistics& prior, const Process& process,
                                                    const std::atomic<bool>& stop) const {
  const bool is_used = pipeline_.sample.text("prior") == "mixture";
  const int64_t components = is_used ? pipeline_.sample.integer("prior_components") : 0;
  if (!is_used && source_->size() < images_per_component) return std::nullopt;
  MixtureStart start = estimate_mixture_start(*source_, prior.gaussian_images(), process, seed_, components, &stop);
  if (is_used && start.share < enough_of_the_start) {
    log_warning(
        fmt::format("sample.prior = \"mixture\": its {} directions hold {:.0f} % of the variance that C_1 leaves above "
                    "the noise, and "
                    "the start is Gaussian in the rest; a stronger corruption or more noise at t = 1 would make it "
                    "exact, and prior = "
                    "\"empirical\" starts from corrupted training images instead",
                    start.dimensions(), 100 * start.share));
  }
  return start;
}

// Settings of [sample] that need the path or the statistics: said before the training, not after it.
void TrainingLoop::require_samplable() const {
  sampling_nodes(trained_->process->path(), pipeline_.sample);
  Prior(trained_->prior, *trained_->process, prior_options(pipeline_));
}

void TrainingLoop::resume(StoredCheckpoint checkpoint) {
  const std::string folder = checkpoint.folder.string();
  if (pipeline_.train) {
    const Layout layout(model_.params());
    params_ = std::make_unique<FlatParameters>(layout, parameter_options(pipeline_, model_));
    load_weights(checkpoint, "model.safetensors", layout, *params_);
    apply_precision(pipeline_, layout, *params_);
    load_moments(checkpoint);
  }
  trained_ = load_trained(pipeline_, std::move(checkpoint), model_);
  TrainingState& state = trained_->state;
  if (!pipeline_.train) return;
  if (state.images < optimizer_.images) {
    log_info(fmt::format("continuing from {} ({} of {} images)", folder, state.images, optimizer_.images));
    const auto warn = [](const std::string& difference) {
      log_warning(fmt::format(
          "the checkpoint was written {}: the rest of the run is valid, but not bit for bit the same", difference));
    };
    if (state.threads != at::get_num_threads())
      warn(fmt::format("with {} threads, this process has {}", state.threads, at::get_num_threads()));
    if (const std::string here = kind_of(device_of(pipeline_)); state.device != here)
      warn(fmt::format("on {}, this process computes on {}", state.device, here));
  }
  cut_log(folder_.metrics_file(), [&](const std::string& line) {
    const Json j = Json::parse(line, nullptr, false);
    return !j.is_discarded() && j.value("step", int64_t{0}) <= state.step;
  });
}

void TrainingLoop::load_moments(const StoredCheckpoint& checkpoint) {
  const NamedTensors optimizer = tensors_of(checkpoint, "optimizer.safetensors");
  const auto moment = [&](const char* name) {
    const auto it = optimizer.find(name);
    if (it == optimizer.end() || it->second.sizes() != params_->flat().sizes()) {
      throw CheckpointError(fmt::format("checkpoint {}: optimizer.safetensors lacks \"{}\" or has it in another size",
                                        checkpoint.folder.string(), name));
    }
    return it->second.to(params_->flat().options()).contiguous();
  };
  moments_ = {moment("m"), moment("v")};
  if (!adapts_times()) return;
  const std::string file = (checkpoint.folder / "optimizer.safetensors").string();
  std::vector<double> mean_square = table_from(optimizer, "times.mean_square", LossHistogram::bins, file);
  losses_ = LossHistogram(std::move(mean_square), table_from(optimizer, "times.count", LossHistogram::bins, file));
}

bool TrainingLoop::adapts_times() const { return objective_options(*pipeline_.train).times == Times::importance; }

int64_t TrainingLoop::checkpoint_every() const {
  const int64_t every = pipeline_.train->integer("checkpoint_every_images");
  return every > 0 ? every : std::max<int64_t>(optimizer_.images / 10, 1);
}

void TrainingLoop::train(const std::atomic<bool>& stop, const std::function<void(const TrainingProgress&)>& progress) {
  using Clock = std::chrono::steady_clock;
  TrainingState& state = trained_->state;
  if (state.images >= optimizer_.images) return;
  const Objective objective(*trained_->process, objective_options(*pipeline_.train));
  state.threads = at::get_num_threads();
  state.device = kind_of(device_of(pipeline_));
  gradients_ = std::make_unique<FlatParameters>(trained_->layout, *params_);
  if (pipeline_.train->integer("accumulate") > 1)
    part_gradients_ = std::make_unique<FlatParameters>(trained_->layout, *params_);
  const LoaderOptions options{pipeline_.train->integer("batch"), seed_, pipeline_.data.flag("flip"),
                              pipeline_.data.integer("workers")};
  Loader loader(source_, options, state.loader);
  const int64_t every = checkpoint_every(), first_image = state.images;
  const Clock::time_point start = Clock::now();
  double shown_loss = std::nan("");
  while (state.images < optimizer_.images) {
    const Batch batch = loader.next();
    const int64_t before = state.images;
    step(objective, batch);
    state.loader = loader.state();
    if (state.window_steps > 0) shown_loss = state.window_loss / static_cast<double>(state.window_steps);
    if (progress) progress({state.images, optimizer_.images, shown_loss});
    const bool last = state.images >= optimizer_.images;
    const bool stopping = stop.load();
    if (last || stopping || before / every != state.images / every) save();
    if (!last && stopping) break;
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  append_line(folder_.timing_file(),
              Json{{"from_image", first_image}, {"to_image", state.images}, {"seconds", seconds}}.dump());
  if (state.images < optimizer_.images) {
    throw Stopped(fmt::format("stopped at {} of {} images; the state is saved, run the same command again to go on",
                              state.images, optimizer_.images));
  }
}

// x_t = C_t x_0 + sigma_t eps; x0_hat from the network's output; the loss and its gradient; the model's vjp.
Loss loss_with_gradients(const Model& model, const ModelCall& call, const Process& process,
                         const Parametrisation& parametrisation, const Objective& objective, const TrainingDraw& draw,
                         const at::Tensor& x_0, const ParamSet& gradients) {
  const at::Tensor x_t = process.noisy(draw.at, x_0, draw.eps);
  const Preconditioning around = parametrisation.at(process, draw.at, x_t);
  const at::Tensor input = around.input(x_t);
  auto [f, saved] = model.forward_saving(call, input);
  Loss loss = objective.loss(draw, around.x0_hat(x_t, f), x_0);
  model.vjp(call, input, saved, around.to_output(loss.gradient), &gradients, false);
  return loss;
}

struct TrainingLoop::Part {
  TrainingDraw draw;  // without eps, as the loss is without its gradient: they are as large as the images
  Loss loss;
};

// Part k of train.accumulate: its share of the batch's loss and gradient. Numbers of samples are those of the batch, so
// that every random number is what it is without parts.
TrainingLoop::Part TrainingLoop::part(const Objective& objective, const Batch& batch, int64_t k,
                                      FlatParameters& gradients) const {
  const TrainedModel& m = *trained_;
  const int64_t n = batch.images.size(0), parts = pipeline_.train->integer("accumulate");
  const int64_t begin = k * n / parts, end = (k + 1) * n / parts;
  const uint32_t step = static_cast<uint32_t>(m.state.step);
  const at::Tensor x_0 = batch.images.slice(0, begin, end).to(params_->flat().options());
  Part part{objective.draw(x_0, seed_, static_cast<uint64_t>(batch.first + begin), step, losses_, n), {}};
  CallScope scope;
  scope.corruption = &m.process->corruption();
  scope.random.seed = seed_;
  scope.random.purpose = Purpose::model;
  scope.random.sample = part.draw.sample;
  scope.random.step = step;
  const ModelCall call{params_->for_model(), part.draw.at, scope, true};
  part.loss =
      loss_with_gradients(model_, call, *m.process, m.parametrisation, objective, part.draw, x_0, gradients.views());
  part.draw.eps = part.loss.gradient = at::Tensor();
  return part;
}

// One batch, its loss and gradient as the sum of its parts', one update.
double TrainingLoop::step(const Objective& objective, const Batch& batch) {
  TrainedModel& m = *trained_;
  const int64_t n = batch.images.size(0);
  std::vector<Part> parts = {part(objective, batch, 0, *gradients_)};
  double loss = parts[0].loss.value;
  for (int64_t k = 1; k < pipeline_.train->integer("accumulate"); ++k) {
    parts.push_back(part(objective, batch, k, *part_gradients_));
    gradients_->flat().add_(part_gradients_->flat());
    loss += parts.back().loss.value;
  }
  const double norm = flat_norm(gradients_->flat());
  const double lr = learning_rate(optimizer_, m.state.images, n);
  ++m.state.step;
  m.state.images += n;
  if (survives(loss, norm)) {
    fused_step(params_->flat(), gradients_->flat(), norm, moments_, m.ema.flat(), optimizer_, lr, ++m.state.updates);
    params_->views().changed();
    m.ema.views().changed();
    for (const Part& done : parts) objective.measure(done.draw, done.loss, losses_);
    m.state.window_loss += loss;
    ++m.state.window_steps;
  }
  if (m.state.step % pipeline_.train->integer("log_every") == 0) log_window(loss, norm, lr);
  return loss;
}

// Is this step's gradient usable? If not, what on_nonfinite says happens.
bool TrainingLoop::survives(double loss, double gradient_norm) {
  if (std::isfinite(loss) && std::isfinite(gradient_norm)) {
    trained_->state.failures = 0;
    return true;
  }
  const at::Tensor bad = at::isfinite(gradients_->flat()).logical_not();
  const bool in_gradient = bad.any().item<bool>();
  const std::string where = in_gradient
                                ? fmt::format("the gradient of \"{}\" is not finite",
                                              trained_->layout.name_at(bad.to(at::kInt).argmax().item<int64_t>()))
                            : std::isfinite(loss) ? "the gradient's norm overflows"
                                                  : "the loss is not finite";
  const std::string what = fmt::format("step {}: {}", trained_->state.step, where);
  const std::string& policy = pipeline_.train->text("on_nonfinite");
  if (policy == "stop")
    throw RunError(
        fmt::format("{}; lower train.learning_rate, or set train.on_nonfinite to \"skip\" or \"rewind\"", what));
  if (++trained_->state.failures > patience)
    throw RunError(fmt::format("{}, as in the {} steps before it; lower train.learning_rate", what, patience));
  log_warning(fmt::format("{}; {}", what,
                          policy == "skip" ? "the step is skipped" : "going back to the last checkpoint's weights"));
  if (policy == "rewind") rewind();
  return false;
}

// The last checkpoint's weights, but not its place in the data: the same batches would fail the same way. Into the same
// tensors, which others point to. A run that was stopped has one checkpoint more to go back to, so it may then differ
// from one that was not.
void TrainingLoop::rewind() {
  const auto checkpoint = store_.newest();
  if (!checkpoint) throw RunError("there is no checkpoint to go back to yet; lower train.learning_rate");
  TrainedModel& m = *trained_;
  load_weights(*checkpoint, "model.safetensors", m.layout, *params_);
  load_weights(*checkpoint, "ema.safetensors", m.layout, m.ema);
  load_moments(*checkpoint);
  m.state.updates =
      state_from(content_of(*checkpoint, "state.json"), (checkpoint->folder / "state.json").string()).updates;
}

void TrainingLoop::log_window(double loss, double gradient_norm, double lr) {
  TrainingState& s = trained_->state;
  const double mean = s.window_steps > 0 ? s.window_loss / static_cast<double>(s.window_steps) : loss;
  append_line(folder_.metrics_file(),
              fmt::format("{{\"step\":{},\"images\":{},\"loss\":{},\"gradient_norm\":{},\"learning_rate\":{}}}", s.step,
                          s.images, finite_or_null(mean), finite_or_null(gradient_norm), finite_or_null(lr)));
  s.window_loss = 0;
  s.window_steps = 0;
}

void TrainingLoop::save() const {
  const TrainedModel& m = *trained_;
  NamedTensors process = m.prior.named();
  process.merge(m.parametrisation.named());
  process["path.level"] = table_tensor(m.process->path().levels());
  process["path.sigma"] = table_tensor(m.process->path().sigmas());
  FileContents files = {{"process.safetensors", pack_tensors(process)},
                        {"model.safetensors", pack_tensors((params_ ? *params_ : m.ema).named(m.layout))},
                        {"state.json", to_json(m.state).dump(1) + "\n"}};
  if (pipeline_.train) {
    files["ema.safetensors"] = pack_tensors(m.ema.named(m.layout));
    NamedTensors optimizer = {{"m", moments_.m}, {"v", moments_.v}};
    if (adapts_times()) {
      optimizer["times.mean_square"] = table_tensor(losses_.mean_square());
      optimizer["times.count"] = table_tensor(losses_.count());
    }
    files["optimizer.safetensors"] = pack_tensors(optimizer);
  }
  store_.save(m.state.images, files, pipeline_.train ? pipeline_.train->integer("keep_checkpoints") : 1);
}

}  // namespace sdpipe
