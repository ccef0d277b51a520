// A pipeline file, checked and complete: what the rest of the program works from.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/error.hpp"
#include "core/base/value.hpp"
#include "core/host/discovery.hpp"

namespace sdpipe {

// One plugin table: which plugin, with which parameters. `settings` answers plugin->schema.
struct PluginChoice {
  const Plugin* plugin = nullptr;  // lives in the Registry
  Settings settings;
  Position where;           // of the table
  double from = 0, to = 1;  // of an operator in a composition: the part of level 0 to 1 in which it acts
};

// Where a plugin's parameter stands, for errors that a plugin raises about it; the table where it is a default.
Position position_of(const PluginChoice& choice, std::string_view key);

struct Crop {
  int64_t size = 0;                              // px, square
  std::optional<std::array<int64_t, 2>> center;  // (x, y) in px; none: the middle of the image
};

// Every key of run, data, train and sample is in core/config/tables.cpp.
struct Pipeline {
  std::string source;  // the file as the user named it
  Settings run;        // name, seed, threads, device, precision
  Settings data;       // type, path, split, resize, flip, channels, on_bad_file, limit, workers
  std::optional<Crop> crop;
  std::vector<PluginChoice> corruption;  // one operator, or several: a composition, in the order of application
  PluginChoice schedule;                 // fills levels, and sigma where `noise` is absent
  std::optional<PluginChoice> noise;     // fills sigma
  PluginChoice model;
  std::optional<Settings> train;  // absent exactly where the model is fitted
  PluginChoice sampler;
  Settings sample;  // steps, count, prior, basis, spacing, seed, batch, clamp

  bool composed() const { return corruption.size() > 1; }
  bool fitted() const { return !train.has_value(); }
};

// Everything that is wrong with a pipeline file, at once: each problem with its place, then their number.
struct PipelineErrors : UsageError {
  PipelineErrors(std::vector<Problem> problems, const std::string& name);
  std::vector<Problem> problems;  // in the order of the file, then of the command line
};

// Reads `file`, applies `overrides` (core/config/overrides.hpp) and checks the result against the plugins that there
// are; nothing is created and no plugin code runs. Paths of image parameters are made absolute, from the file's
// folder. Of a file with variants and ablations (core/config/experiment.hpp) all is checked, and the pipeline that the
// variants vary is returned. Throws UsageError where the file cannot be read, PipelineErrors where anything is wrong
// with it.
Pipeline load_pipeline(const std::filesystem::path& file, const std::vector<std::string>& overrides,
                       const Registry& registry);

// The same for a text; `name` stands for the file in messages, in run.name and as the place of image parameters.
Pipeline parse_pipeline(std::string_view text, const std::filesystem::path& name,
                        const std::vector<std::string>& overrides, const Registry& registry);

}  // namespace sdpipe
