// report.html of a run with variants: what each changes, and where its own report and the comparison stand.
#pragma once

#include "core/config/experiment.hpp"

namespace sdpipe {

std::string render_experiment_report(const Experiment& experiment);

// "train.loss_at, train.weight": the keys in which a variant is another run than its base.
std::string variant_changes(const Experiment& experiment, const Variant& variant);

}  // namespace sdpipe
