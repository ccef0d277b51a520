// The tables of a pipeline file that choose a plugin: [corruption], [schedule], [noise], [model], [sampler].
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/value.hpp"
#include "core/config/pipeline.hpp"

namespace sdpipe {

// Checks plugin tables against the plugins that there are. Image paths are resolved against `folder`. A choice whose
// plugin is null was refused, and the reason is among `problems`.
class PluginTables {
 public:
  PluginTables(const Registry& registry, std::filesystem::path folder, std::vector<Problem>& problems)
      : registry_(registry), folder_(std::move(folder)), problems_(problems) {}

  PluginChoice one(int32_t kind, const Table& table, std::string_view slot);
  // A table, or an array of tables: a composition. Empty where anything is wrong.
  std::vector<PluginChoice> corruption(const Value& value);
  // A schedule that fills levels, or sigma.
  PluginChoice levels(const Table& table);
  PluginChoice sigma(const Table& table);
  // Each of level and sigma must come from exactly one of the two.
  void check_pair(const PluginChoice& schedule, const std::optional<PluginChoice>& noise,
                  const Table::Entry* noise_entry);
  // `; known: blur, mask`: the plugins of a kind that have the capability (0: all), for messages.
  std::string known(int32_t kind, uint32_t capability) const;

 private:
  void complain(const Position& where, std::string text) { problems_.push_back({where, std::move(text)}); }
  // `capability`: what a plugin must have to be told as known; 0 for any.
  const Plugin* find(int32_t kind, const Table& table, std::string_view slot, uint32_t capability);
  PluginChoice with_settings(const Plugin* plugin, const Table& table, bool in_composition);
  void check_window(PluginChoice& choice, const Table& table, bool in_composition);
  double window_end(const Table::Entry& entry, double otherwise, std::string_view what);
  std::vector<std::string> ids(int32_t kind, uint32_t capability) const;

  const Registry& registry_;
  std::filesystem::path folder_;
  std::vector<Problem>& problems_;
};

}  // namespace sdpipe
