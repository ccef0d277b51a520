#include "core/run/workspace.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "core/base/log.hpp"
#include "core/diffusion/assembly.hpp"

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
  if (experiment.base.run.text("device") == "cuda") {
    throw UsageError("run.device = \"cuda\": this version trains and samples on the CPU alone; leave run.device out");
  }
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

void warn_of(const std::vector<Problem>& warnings) {
  for (const Problem& warning : warnings) log_warning(warning.render());
}

}  // namespace sdpipe
