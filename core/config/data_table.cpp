#include "core/config/data_table.hpp"

#include <fmt/format.h>

#include "core/config/tables.hpp"

namespace sdpipe {
namespace {

void add_problem(std::vector<Problem>& problems, const Position& where, std::string_view text) {
  problems.push_back({where, fmt::format("table \"data\": {}", text)});
}

std::optional<std::array<int64_t, 2>> check_center(const Value& value, std::vector<Problem>& problems) {
  const std::string* word = value.get_if<std::string>();
  if (word && *word == "image") return std::nullopt;
  const Array* pair = value.get_if<Array>();
  if (pair && pair->size() == 2) {
    const auto* x = (*pair)[0].get_if<int64_t>();
    const auto* y = (*pair)[1].get_if<int64_t>();
    if (x && y && *x >= 0 && *y >= 0) return std::array{*x, *y};
  }
  problems.push_back({value.where,
                      "table \"data.crop\": parameter \"center\" must be \"image\" or [x, y] in px from the "
                      "upper left corner"});
  return std::nullopt;
}

std::optional<Crop> check_crop(const Value& value, std::vector<Problem>& problems) {
  const Table* table = value.get_if<Table>();
  if (!table) {
    add_problem(
        problems, value.where,
        fmt::format("parameter \"crop\" must be a table, for example {{ size = 140, center = \"image\" }}, not {}",
                    value.type_name()));
    return std::nullopt;
  }
  const Settings settings = check_table(crop_schema(), *table, "table \"data.crop\"", {"center"}, problems);
  Crop crop;
  if (const auto* size = settings.find("size")) crop.size = std::get<int64_t>(size->value);
  if (const Table::Entry* center = table->find("center")) crop.center = check_center(center->value, problems);
  return crop;
}

// A key that does nothing would be a wrong belief about the data; at its default it says nothing.
void check_idle_keys(const std::string& type, const Settings& settings, const Table& table,
                     std::vector<Problem>& problems) {
  const bool folder = type == "folder";
  const auto refuse = [&](const Position& where, std::string_view key) {
    add_problem(problems, where,
                fmt::format("parameter \"{}\" has no meaning where type = \"{}\"; only {} it", key, type,
                            folder ? "idx and cifar have" : "folder has"));
  };
  for (const Param& param : data_schema()) {
    const bool folders_own =
        param.key == "channels" || param.key == "resize" || param.key == "on_bad_file" || param.key == "held_out";
    const bool idle = folder ? param.key == "split" : folders_own;
    const Settings::Entry* entry = settings.find(param.key);
    if (idle && entry && entry->value != *param.def) refuse(entry->where, param.key);
  }
  const Table::Entry* crop = table.find("crop");
  if (crop && !folder) refuse(crop->key_where, "crop");
}

}  // namespace

DataTable check_data_table(const Table& table, std::vector<Problem>& problems) {
  DataTable data;
  data.settings = check_table(data_schema(), table, "table \"data\"", {"crop"}, problems);
  const Settings::Entry* channels = data.settings.find("channels");
  if (channels && std::get<int64_t>(channels->value) == 2) {
    add_problem(problems, channels->where, "parameter \"channels\" must be 0, 1 or 3, not 2");
  }
  if (const Table::Entry* crop = table.find("crop")) data.crop = check_crop(crop->value, problems);
  const Settings::Entry* type = data.settings.find("type");
  if (type) check_idle_keys(std::get<std::string>(type->value), data.settings, table, problems);
  return data;
}

}  // namespace sdpipe
