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

namespace {

// Said at the place of run.device, in the file or on the command line.
void require_device(const Pipeline& pipeline) {
  try {
    device_of(pipeline);
  } catch (const RunError& e) {
    const std::string text = fmt::format("run.device = \"{}\": {}", pipeline.run.text("device"), e.what());
    throw UsageError(Problem{pipeline.run.find("device")->where, text}.render());
  }
}

std::string why_not_on_a_gpu(const Pipeline& pipeline) {
  if (!gpu_survey().gpus.empty()) return fmt::format("model \"{}\" computes there alone", pipeline.model.plugin->id());
  const std::string& reason = gpu_survey().why_none;
  return reason.substr(0, reason.find(';'));
}

}  // namespace

void Workspace::use(const Pipeline& pipeline) const {
  const int64_t threads = pipeline.run.integer("threads");
  // OMP_NUM_THREADS: what a job scheduler sets for the share of a machine that a job has.
  static const int at_start = at::get_num_threads();
  const int available =
      std::getenv("OMP_NUM_THREADS") ? at_start : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  at::set_num_threads(threads > 0 ? static_cast<int>(threads) : available);
  set_arithmetic({pipeline.run.text("precision") == "tf32", pipeline.run.flag("deterministic")});
  set_synchronous(pipeline.run.flag("synchronous"));
  require_device(pipeline);
  work_on(device_of(pipeline));
}

void Workspace::say_device(const Pipeline& pipeline) const {
  const at::Device device = device_of(pipeline);
  const std::string why =
      device.is_cuda() || pipeline.run.text("device") != "auto" ? "" : fmt::format(": {}", why_not_on_a_gpu(pipeline));
  log_info(fmt::format("computing on {}{}", describe(device), why));
}

void warn_of(const std::vector<Problem>& warnings) {
  for (const Problem& warning : warnings) log_warning(warning.render());
}

}  // namespace sdpipe
