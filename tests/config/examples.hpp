// The plugins of example_plugins.cpp and a valid pipeline for them, which tests damage one line at a time.
#pragma once

#include <stdexcept>
#include <string>

#include "core/config/pipeline.hpp"

namespace sdpipe {

inline const Registry& examples() {
  static const Registry registry(PluginSearch{{SDPIPE_EXAMPLE_PLUGINS}, {}});
  return registry;
}

inline const std::string kExample = R"([run]
seed = 1

[data]
type = "idx"
path = "train-images"

[corruption]
type = "blur"
std_max = 8.0

[schedule]
type = "levels"

[noise]
type = "sigmas"

[model]
type = "net"

[train]
images = 1000
batch = 10

[sampler]
type = "step"
eta = 0.5

[sample]
steps = 5
)";

// `text` with the first `from` replaced.
inline std::string edited(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  if (at == std::string::npos) throw std::logic_error("the example has no " + from);
  return text.replace(at, from.size(), to);
}

inline Pipeline parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  return parse_pipeline(text, "/pipelines/a.toml", overrides, examples());
}

// What is wrong with `text`, as the user sees it; "" if nothing.
inline std::string errors_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    parse_pipeline(text, "a.toml", overrides, examples());
  } catch (const PipelineErrors& errors) {
    return errors.what();
  }
  return "";
}

}  // namespace sdpipe
