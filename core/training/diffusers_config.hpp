// config.json of diffusers' networks and the [model] table of ours, in both directions. The keys have the same names;
// lists of words are one text with spaces or commas between them, and null is 0, "" or "none". in_channels,
// out_channels and sample_size are facts of the data, and stand in no [model] table. A value of a type that diffusers
// does not write is a CheckpointError naming file and key.
#pragma once

#include <string>
#include <vector>

#include "core/host/operators.hpp"
#include "core/host/schema.hpp"

namespace sdpipe {

// A [model] table with what config.json says and `schema` offers, to paste; `type` is its plugin.
std::string model_table(const std::string& config, const std::string& type, const Schema& schema);

// The lines of that table that say what the network's output means, by scheduler_config.json's text; a comment where it
// says nothing, or something that is not offered.
std::string meaning_lines(const std::string& scheduler);

// What config.json says otherwise than the settings of a model, or beyond what they offer, a sentence each; for keys
// that it leaves out, by their defaults in diffusers. Not compared: dropout, which a fine-tuning chooses, and
// sample_size, which only says where the network was trained.
std::vector<std::string> config_differences(const std::string& config, const Settings& settings,
                                            const SampleShape& shape);

// config.json of UNet2DModel for a model with these settings and samples of this shape.
std::string diffusers_config(const Settings& settings, const SampleShape& shape);

}  // namespace sdpipe
