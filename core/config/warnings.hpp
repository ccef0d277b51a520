// What a pipeline file may say and had better not: told, with its place, by the commands that would act on it.
#pragma once

#include "core/config/experiment.hpp"

namespace sdpipe {

// clamp = true with a loss that leaves a part of x0_hat free, in [sample] or as a value of [[ablate]]; of each pipeline
// that is trained, each place once.
std::vector<Problem> warnings_of(const Experiment& experiment);
std::vector<Problem> warnings_of(const Pipeline& pipeline);

}  // namespace sdpipe
