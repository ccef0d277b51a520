#include "core/config/plugin_tables.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/text.hpp"

namespace sdpipe {
namespace {

std::string what_of(std::string_view id) { return fmt::format("table \"{}\"", id); }

}  // namespace

std::vector<std::string> PluginTables::ids(int32_t kind, uint32_t capability) const {
  std::vector<std::string> found;
  for (const Plugin& plugin : registry_.plugins()) {
    if (plugin.kind() == kind && (!capability || plugin.has(capability))) found.push_back(plugin.id());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::string PluginTables::known(int32_t kind, uint32_t capability) const {
  const std::vector<std::string> found = ids(kind, capability);
  return found.empty() ? "; none is installed" : "; known: " + join(found);
}

const Plugin* PluginTables::find(int32_t kind, const Table& table, std::string_view slot, uint32_t capability) {
  const Table::Entry* type = table.find("type");
  if (!type) {
    complain(table.where, fmt::format("table \"{}\": \"type\" is missing, the name of a {}{}", slot, kind_name(kind),
                                      known(kind, capability)));
    return nullptr;
  }
  const std::string* id = type->value.get_if<std::string>();
  if (!id) {
    complain(type->value.where,
             fmt::format("table \"{}\": \"type\" must be a string, not {}", slot, type->value.type_name()));
    return nullptr;
  }
  if (const Plugin* plugin = registry_.find(kind, *id)) return plugin;
  for (int32_t other = SDP_KIND_CORRUPTION; other <= SDP_KIND_SAMPLER; ++other) {
    if (!registry_.find(other, *id)) continue;
    complain(type->value.where, fmt::format("\"{}\" is a {}, not a {}{}", *id, kind_name(other), kind_name(kind),
                                            known(kind, capability)));
    return nullptr;
  }
  complain(type->value.where, fmt::format("no {} named {}{}{}", kind_name(kind), toml_text(*id),
                                          known(kind, capability), did_you_mean(*id, ids(kind, capability))));
  return nullptr;
}

PluginChoice PluginTables::with_settings(const Plugin* plugin, const Table& table, bool in_composition) {
  PluginChoice choice;
  choice.plugin = plugin;
  choice.where = table.where;
  if (!plugin) return choice;
  choice.settings = check_table(plugin->schema, table, what_of(plugin->id()), {"type", "from", "to"}, problems_);
  const auto absolute = [&](const std::string& path) { return (folder_ / path).lexically_normal().string(); };
  for (Settings::Entry& entry : choice.settings.entries()) {
    if (auto* image = std::get_if<ImageSetting>(&entry.value)) image->path = absolute(image->path);
  }
  for (const Param& param : plugin->schema) {
    Settings::Entry* entry = param.type == ParamType::file ? choice.settings.find(param.key) : nullptr;
    if (entry) entry->value = absolute(std::get<std::string>(entry->value));
  }
  check_window(choice, table, in_composition);
  return choice;
}

double PluginTables::window_end(const Table::Entry& entry, double otherwise, std::string_view what) {
  const int64_t* integer = entry.value.get_if<int64_t>();
  const double* real = entry.value.get_if<double>();
  const double value = real ? *real : integer ? static_cast<double>(*integer) : -1;
  if (value >= 0 && value <= 1) return value;
  const std::string given = real || integer ? fmt::format("{}", value) : std::string(entry.value.type_name());
  complain(entry.value.where, fmt::format("{}: \"{}\" must be a float >= 0 and <= 1, not {}", what, entry.key, given));
  return otherwise;
}

void PluginTables::check_window(PluginChoice& choice, const Table& table, bool in_composition) {
  const std::string what = what_of(choice.plugin->id());
  const Table::Entry* from = table.find("from");
  const Table::Entry* to = table.find("to");
  if (!in_composition) {
    for (const Table::Entry* entry : {from, to}) {
      if (!entry) continue;
      complain(entry->key_where,
               fmt::format("{}: \"{}\" belongs to an operator of a composition, a list of [[corruption]] "
                           "tables: remove it",
                           what, entry->key));
    }
    return;
  }
  if (from) choice.from = window_end(*from, 0, what);
  if (to) choice.to = window_end(*to, 1, what);
  if (choice.from < choice.to) return;
  complain(
      (to ? to : from)->value.where,
      fmt::format("{}: \"from\" must be smaller than \"to\", but they are {} and {}", what, choice.from, choice.to));
}

PluginChoice PluginTables::one(int32_t kind, const Table& table, std::string_view slot) {
  return with_settings(find(kind, table, slot, 0), table, false);
}

std::vector<PluginChoice> PluginTables::corruption(const Value& value) {
  if (const Table* table = value.get_if<Table>()) return {one(SDP_KIND_CORRUPTION, *table, "corruption")};
  const Array* list = value.get_if<Array>();
  if (!list || list->empty()) {
    complain(value.where, fmt::format("\"corruption\" must be a table or a list of tables, not {}",
                                      list ? "an empty array" : value.type_name()));
    return {};
  }
  std::vector<PluginChoice> operators;
  for (size_t i = 0; i < list->size(); ++i) {
    const Table* table = (*list)[i].get_if<Table>();
    if (!table) {
      complain((*list)[i].where,
               fmt::format("\"corruption\" must be a list of tables, but element {} is {}", i, (*list)[i].type_name()));
      continue;
    }
    const Plugin* plugin = find(SDP_KIND_CORRUPTION, *table, fmt::format("corruption.{}", i), 0);
    operators.push_back(with_settings(plugin, *table, list->size() > 1));
  }
  return operators;
}

PluginChoice PluginTables::levels(const Table& table) {
  const Plugin* plugin = find(SDP_KIND_SCHEDULE, table, "schedule", SDP_CAP_FILLS_LEVEL);
  if (plugin && !plugin->has(SDP_CAP_FILLS_LEVEL)) {
    complain(table.find("type")->value.where,
             fmt::format("schedule \"{}\" fills sigma, not levels: it belongs in [noise]{}", plugin->id(),
                         known(SDP_KIND_SCHEDULE, SDP_CAP_FILLS_LEVEL)));
  }
  return with_settings(plugin, table, false);
}

PluginChoice PluginTables::sigma(const Table& table) {
  const Plugin* plugin = find(SDP_KIND_SCHEDULE, table, "noise", SDP_CAP_FILLS_SIGMA);
  if (plugin && !plugin->has(SDP_CAP_FILLS_SIGMA)) {
    complain(table.find("type")->value.where,
             fmt::format("schedule \"{}\" fills levels, not sigma: it belongs in [schedule]{}", plugin->id(),
                         known(SDP_KIND_SCHEDULE, SDP_CAP_FILLS_SIGMA)));
  }
  return with_settings(plugin, table, false);
}

void PluginTables::check_pair(const PluginChoice& schedule, const std::optional<PluginChoice>& noise,
                              const Table::Entry* noise_entry) {
  if (!schedule.plugin || !schedule.plugin->has(SDP_CAP_FILLS_LEVEL)) return;
  const bool fills_both = schedule.plugin->has(SDP_CAP_FILLS_SIGMA);
  if (fills_both && noise_entry) {
    complain(noise_entry->value.where,
             fmt::format("schedule \"{}\" fills sigma as well as levels: remove [noise]", schedule.plugin->id()));
  }
  if (!fills_both && !noise_entry) {
    complain(schedule.where,
             fmt::format("schedule \"{}\" fills levels only: add [noise] with a schedule that fills sigma{}",
                         schedule.plugin->id(), known(SDP_KIND_SCHEDULE, SDP_CAP_FILLS_SIGMA)));
  }
  const bool noise_fills_both =
      noise && noise->plugin && noise->plugin->has(SDP_CAP_FILLS_LEVEL) && noise->plugin->has(SDP_CAP_FILLS_SIGMA);
  if (noise_fills_both && !fills_both) {
    complain(noise->where,
             fmt::format("schedule \"{}\" fills levels as well as sigma: put it in [schedule] and remove [noise]",
                         noise->plugin->id()));
  }
}

}  // namespace sdpipe
