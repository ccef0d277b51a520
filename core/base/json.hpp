// JSON with its keys in the order of writing. The only place that includes the library.
#pragma once

#include <nlohmann/json.hpp>

namespace sdpipe {

using Json = nlohmann::ordered_json;
using JsonError = nlohmann::json::exception;

}  // namespace sdpipe
