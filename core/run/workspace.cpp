#include "core/run/workspace.hpp"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "core/base/log.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/host/gpu.hpp"

namespace sdpipe {

namespace fs = std::filesystem;

const Registry& Workspace::registry() {
  if (!registry_) {
    registry_ = std::make_unique<Registry>(PluginSearch{options_.plugin_files, default_plugin_folders()});
    for (const std::string& warning : registry_->warnings()) log_warning(warning);
  }
  return *registry_;
}

Experiment Workspace::load_experiment(const fs::path& file, const std::vector<std::string>& overrides) {
  Experiment experiment = sdpipe::load_experiment(file, overrides, registry());
  load_image_parameters(experiment.base);
  for (Variant& variant : experiment.variants) load_image_parameters(variant.pipeline);
  use(experiment.base);
  return experiment;
}

Pipeline Workspace::load(const fs::path& file, const std::vector<std::string>& overrides) {
  return load_experiment(file, overrides).base;
}

void Workspace::use(const Pipeline& pipeline) const {
  const int64_t threads = pipeline.run.integer("threads");
  // OMP_NUM_THREADS: what a job scheduler sets for the share of a machine that a job has.
  static const int at_start = at::get_num_threads();
  const int available =
      std::getenv("OMP_NUM_THREADS") ? at_start : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  at::set_num_threads(threads > 0 ? static_cast<int>(threads) : available);
}

at::Device Workspace::device(const Pipeline& pipeline) const {
  try {
    return device_of(pipeline);
  } catch (const RunError& e) {
    const std::string text = fmt::format("run.device = \"{}\": {}", pipeline.run.text("device"), e.what());
    throw UsageError(Problem{pipeline.run.find("device")->where, text}.render());
  }
}

void Workspace::begin_computing(const Pipeline& pipeline) const {
  const at::Device where = device(pipeline);
  set_arithmetic({pipeline.run.text("precision") == "tf32", pipeline.run.flag("deterministic")}, where);
  set_synchronous(pipeline.run.flag("synchronous"));
  work_on(where);
  if (gpu_survey().runtime.empty()) return;  // a program for the CPU alone has nothing to choose
  std::string why;
  if (where.is_cpu() && pipeline.run.text("device") == "auto") {
    why = ": " + (device_named("auto").is_cpu()
                      ? why_not_on_a_gpu()
                      : fmt::format("model \"{}\" computes there alone", pipeline.model.plugin->id()));
  }
  log_info(fmt::format("computing on {}{}", describe(where), why));
}

void warn_of(const std::vector<Problem>& warnings) {
  for (const Problem& warning : warnings) log_warning(warning.render());
}

}  // namespace sdpipe
