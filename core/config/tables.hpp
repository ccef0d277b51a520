// What the host's own tables of a pipeline file may hold: keys, types, ranges, defaults, docs.
#pragma once

#include "core/host/schema.hpp"

namespace sdpipe {

const Schema& run_schema();
const Schema& data_schema();
const Schema& crop_schema();  // data.crop, without `center`, which is a word or a pair
const Schema& train_schema();
const Schema& sample_schema();
const Schema& ablate_schema();  // one value of each; `variant`, `sampler` and `sample` are no parameters

}  // namespace sdpipe
