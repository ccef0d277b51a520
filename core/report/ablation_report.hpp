// report.html of an ablation: quality against evaluations of the network, the same seeds under every setting, every
// number.
#pragma once

#include "core/evaluation/ablation.hpp"

namespace sdpipe {

struct AblationReport {
  std::string name;
  std::string data;  // Source::describe()
  const Ablation& ablation;
  const std::vector<std::vector<ByteImage>>& strips;  // of each cell; empty for one that failed
  std::string resolved;                               // the settings as TOML
};

std::string render_ablation_report(const AblationReport& report);

}  // namespace sdpipe
