// From a document to a pipeline, for the file itself and for each of its variants.
#pragma once

#include "core/config/document.hpp"
#include "core/config/pipeline.hpp"

namespace sdpipe {

// What the tables of `document` say, without [[variant]] and [[ablate]]. Complete only where no problem was added.
Pipeline check_pipeline(const Document& document, const std::filesystem::path& file, const Registry& registry,
                        std::vector<Problem>& problems);

// run, data, corruption, ...
std::vector<std::string> pipeline_tables();

// No "/", no "." or "-" in front, no control characters, 1 to 200 bytes.
bool is_plain_folder_name(std::string_view text);

// Adds a problem where the plugin cannot compute on the run's device or in its precision. Schedules need not: they see
// calibration data in float32 in host memory. bfloat16 is a matter of models alone: it is for parameters.
void check_capability(const Settings& run, const PluginChoice& choice, std::vector<Problem>& problems);

}  // namespace sdpipe
