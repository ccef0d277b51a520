#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "core/base/log.hpp"
#include "core/base/text.hpp"
#include "core/cli/signals.hpp"
#include "core/cli/verbs.hpp"
#include "core/config/warnings.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/diffusion/loss_profile.hpp"
#include "core/evaluation/counts.hpp"
#include "core/host/gpu.hpp"
#include "core/report/ablation_table.hpp"
#include "core/report/experiment_report.hpp"
#include "core/report/numbers.hpp"

namespace sdpipe {
namespace {

std::string amount(int64_t n) { return grouped(static_cast<uint64_t>(n)); }

// "clean with weight inverse_sigma", and what is not at its default.
std::string describe_loss(const Settings& train) {
  std::string text = fmt::format("{} with weight {}", train.text("loss_at"), train.text("weight"));
  if (train.real("clean_weight") > 0) text += fmt::format(", clean weight {:g}", train.real("clean_weight"));
  if (train.text("parametrisation") != "residual")
    text += fmt::format(", parametrisation {}", train.text("parametrisation"));
  return text;
}

constexpr double profile_times[] = {1, 0.75, 0.5, 0.25, 0.1};

// Where the loss goes along the path: data and schedule are read for it, which may take a minute.
void print_loss(const Pipeline& pipeline, const Source& source) {
  if (!pipeline.train) return;
  const uint64_t seed = static_cast<uint64_t>(pipeline.run.integer("seed"));
  const auto corruption = make_corruption(pipeline, sample_shape(source.shape()));
  const DataCalibration data(source, *corruption, tensor_options(pipeline), calibration_images, calibration_batch,
                             seed);
  const Process process(corruption, select_path(pipeline, data, &stop_requested()));
  const LossProfile profile(process, data, objective_options(*pipeline.train), seed);
  const bool known = profile.basis() != Basis::none;
  fmt::print("loss      of the linear estimate, {}, per element at t, over {} images\n",
             !known                            ? "found by conjugate gradients"
             : profile.basis() == Basis::pixel ? "in pixels"
                                               : "in the DCT",
             amount(data.n_images()));
  for (const double t : profile_times) {
    if (t < pipeline.train->real("t_min")) continue;
    const LossShare share = profile.at(t);
    fmt::print("          t = {:<5g} {:<9.2g} {}\n", t, share.loss,
               share.hidden ? fmt::format("{:.2g} % of it where visibility is below 0.1", 100 * *share.hidden)
                            : "visibility is not known: the corruption is diagonal neither in the DCT nor in pixels");
  }
}

void print_training(const Pipeline& pipeline, const Model& model, const Layout& layout) {
  if (!pipeline.train) {
    fmt::print("train     none: {} is fitted in closed form\n", pipeline.model.plugin->id());
    return;
  }
  const int64_t images = pipeline.train->integer("images"), batch = pipeline.train->integer("batch");
  const int64_t parts = pipeline.train->integer("accumulate");
  // Parameters, gradients (of a batch, and of one of its parts), average, two moments; in bfloat16 the model's copies.
  const uint64_t element = model.offers(at::kDouble) && pipeline.run.text("precision") == "float64" ? 8 : 4;
  const uint64_t state = static_cast<uint64_t>(layout.trained_size()) *
                         ((parts > 1 ? 6 : 5) * element + (narrows_parameters(pipeline) ? sizeof(at::BFloat16) : 0));
  fmt::print("train     {} images in {} batches of {}{}, loss at {}\n", amount(images),
             amount((images + batch - 1) / batch), amount(batch),
             parts > 1 ? fmt::format(" ({} parts each)", parts) : "", describe_loss(*pipeline.train));
  fmt::print("memory    {} for parameters, gradients, average and moments; activations come on top\n",
             readable_memory(state));
}

void print_model(const Pipeline& pipeline, const Source& source) {
  const SampleShape shape = sample_shape(source.shape());
  require_images_for_prior(pipeline, source.size());
  const auto corruption = make_corruption(pipeline, shape);
  const Model model = make_model(pipeline, shape);
  const Layout layout(model.params());
  std::string operators;
  for (const PluginChoice& c : pipeline.corruption)
    operators += fmt::format("{}{}", operators.empty() ? "" : ", then ", c.plugin->id());
  const std::string unit = corruption->level_unit();
  fmt::print("corrupt   {}, level 0 to {:g}{}{}\n", operators, corruption->level_max(), unit.empty() ? "" : " ", unit);
  fmt::print("schedule  levels by {}, noise by {}\n", pipeline.schedule.plugin->id(),
             (pipeline.noise ? *pipeline.noise : pipeline.schedule).plugin->id());
  fmt::print("model     {}, {} parameters\n", pipeline.model.plugin->id(), amount(layout.count()));
  print_training(pipeline, model, layout);
  const int64_t steps = pipeline.sample.integer("steps");
  fmt::print("sample    {} images by {}, {} steps, {} evaluations each, prior {}\n",
             amount(pipeline.sample.integer("count")), pipeline.sampler.plugin->id(), steps,
             count_nfe(pipeline.sampler, steps), pipeline.sample.text("prior"));
}

// One line for each pipeline with one sampler: `soft_clean, ddim: NFE 5, 10, 20`.
void print_cells(const Experiment& experiment) {
  const std::vector<Cell> cells = cells_of(experiment);
  std::vector<std::pair<std::string, std::vector<std::string>>> lines;
  int64_t images = 0, evaluations = 0;
  for (const Cell& cell : cells) {
    const int64_t count = cell.pipeline.sample.integer("count");
    const int64_t nfe = count_nfe(cell.pipeline.sampler, cell.pipeline.sample.integer("steps"));
    images += count;
    evaluations += count * nfe;
    const std::string name =
        fmt::format("{}{}{}", cell.variant, cell.variant.empty() ? "" : ", ", sampler_label(cell.pipeline.sampler));
    if (lines.empty() || lines.back().first != name) lines.push_back({name, {}});
    auto& numbers = lines.back().second;
    if (numbers.empty() || numbers.back() != std::to_string(nfe)) numbers.push_back(std::to_string(nfe));
  }
  fmt::print("ablate    {} cell{}, {} images, {} evaluations\n", amount(static_cast<int64_t>(cells.size())),
             cells.size() == 1 ? "" : "s", amount(images), amount(evaluations));
  for (const auto& [name, numbers] : lines) fmt::print("          {}: NFE {}\n", name, join(numbers));
}

// What `run` refuses without --force, and what it warns of.
void warn_of_counts(const Experiment& experiment) {
  const CountFindings findings = judge_counts(experiment);
  for (const Problem& problem : findings.meaningless) log_warning(problem.render());
  for (const std::string& warning : findings.warnings) log_warning(warning);
  for (const std::string& sentence : idle_settings(experiment)) log_warning(sentence);
}

}  // namespace

int check(Workspace& workspace, const CheckArguments& arguments) {
  install_stop_handlers();
  const Experiment experiment = workspace.load_experiment(arguments.file, arguments.overrides);
  warn_of(warnings_of(experiment));
  const Pipeline& base = experiment.base;
  const auto source = open_source(data_options(base));
  fmt::print("run       {} -> {}\n", base.run.text("name"), workspace.run_folder(base).string());
  fmt::print("data      {}\n", source->describe());
  if (experiment.variants.empty()) print_model(base, *source);
  if (experiment.variants.empty() && arguments.loss) print_loss(base, *source);
  for (const Variant& variant : experiment.variants) {
    fmt::print("variant   {}: {}\n", variant.name, variant_changes(experiment, variant));
    print_model(variant.pipeline, *source);
    if (arguments.loss) print_loss(variant.pipeline, *source);
  }
  if (!experiment.grids.empty()) {
    print_cells(experiment);
    warn_of_counts(experiment);
  }
  fmt::print("threads   {}, device {}, precision {}\n", at::get_num_threads(), describe(workspace.device(base)),
             base.run.text("precision"));
  return 0;
}

}  // namespace sdpipe
