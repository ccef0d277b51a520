// report.html of a run: samples, every sampler on the same seeds, the path of a few images, what the model believes on
// the way, the schedule, the loss, the settings.
#pragma once

#include "core/evaluation/neighbours.hpp"
#include "core/evaluation/samples.hpp"

namespace sdpipe {

struct SamplerGrid {
  std::string name;
  SampleSet samples;
};

struct RunReport {
  const Pipeline& pipeline;
  const TrainedModel& trained;
  const SamplerGrid& chosen;
  const std::vector<SamplerGrid>& samplers;  // the same seeds under each
  const AlongPath& path;
  std::string prior;  // describe_prior()
  std::string data;   // Source::describe()
  std::filesystem::path metrics_file, timing_file;
  std::string resolved;                                   // the settings as TOML
  bool is_compared = false;                               // ablation/report.html is or will be there
  std::optional<NearestTraining> nearest = std::nullopt;  // of the chosen samples
};

std::string render_report(const RunReport& report);

}  // namespace sdpipe
