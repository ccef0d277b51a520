// Whether an ablation's scores mean anything of so many samples. A covariance of d features from n samples has rank
// n - 1: of d samples or fewer the Fréchet distance is that of a flat Gaussian, whatever the samples are.
#pragma once

#include <string>
#include <vector>

#include "core/config/experiment.hpp"

namespace sdpipe {

struct CountFindings {
  std::vector<Problem> meaningless;   // each where the number stands, with what to write instead
  std::vector<std::string> warnings;  // of numbers that leave a score rough
};

// Of every grid with its own `count` and with that of each pipeline whose sample.count it takes.
CountFindings judge_counts(const Experiment& experiment);

// Throws PipelineErrors for what is meaningless, unless `force`; logs the warnings.
void require_enough_samples(const Experiment& experiment, bool force);

}  // namespace sdpipe
