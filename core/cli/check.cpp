#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "core/cli/verbs.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/evaluation/samples.hpp"
#include "core/report/numbers.hpp"

namespace sdpipe {
namespace {

std::string amount(int64_t n) { return grouped(static_cast<uint64_t>(n)); }

void print_training(const Pipeline& pipeline, const Model& model, const Layout& layout) {
  if (!pipeline.train) {
    fmt::print("train     none: {} is fitted in closed form\n", pipeline.model.plugin->id());
    return;
  }
  const int64_t images = pipeline.train->integer("images"), batch = pipeline.train->integer("batch");
  // Parameters, gradients, average, two moments.
  const uint64_t state = 5 * static_cast<uint64_t>(layout.trained_size()) *
                         (model.offers(at::kDouble) && pipeline.run.text("precision") == "float64" ? 8 : 4);
  fmt::print("train     {} images in {} batches of {}, loss at {} with weight {}\n", amount(images),
             amount((images + batch - 1) / batch), amount(batch), pipeline.train->text("loss_at"),
             pipeline.train->text("weight"));
  fmt::print("memory    {} for parameters, gradients, average and moments; activations come on top\n",
             readable_memory(state));
}

}  // namespace

int check(Session& session, const std::filesystem::path& file, const std::vector<std::string>& overrides) {
  const Pipeline pipeline = session.load(file, overrides);
  const auto source = open_source(data_options(pipeline));
  const SampleShape shape = sample_shape(source->shape());
  const auto corruption = make_corruption(pipeline, shape);
  const Model model = make_model(pipeline, shape);
  const Layout layout(model.params());
  fmt::print("run       {} -> {}\n", pipeline.run.text("name"), (session.runs / pipeline.run.text("name")).string());
  fmt::print("data      {}\n", source->describe());
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
  fmt::print("threads   {}, device {}, precision {}\n", at::get_num_threads(), pipeline.run.text("device"),
             pipeline.run.text("precision"));
  return 0;
}

}  // namespace sdpipe
