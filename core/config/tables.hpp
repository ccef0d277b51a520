// What the host's own tables of a pipeline file may hold: keys, types, ranges, defaults, docs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/host/schema.hpp"

namespace sdpipe {

const Schema& run_schema();
const Schema& data_schema();
const Schema& crop_schema();  // data.crop, without `center`, which is a word or a pair
const Schema& train_schema();
const Schema& sample_schema();
// A key that acts only where another one of its table has some value: elsewhere it may be anything.
struct Condition {
  std::string_view table, key, under, value;  // "sample", "basis", "prior", "gaussian"
};
const std::vector<Condition>& conditions();
// Null where the key acts in this table, which holds it; else why it does not.
const Condition* idle_condition(std::string_view table, std::string_view key, const Settings& settings);
// "sample.basis acts under prior = gaussian only"
std::string sentence(const Condition& condition);

const Schema& ablate_schema();  // one value of each; `variant`, `sampler` and `sample` are no parameters

}  // namespace sdpipe
