#include <fmt/format.h>

#include <algorithm>

#include "core/base/text.hpp"
#include "core/config/check_pipeline.hpp"
#include "core/config/plugin_tables.hpp"
#include "core/config/tables.hpp"
#include "core/config/variants.hpp"

namespace sdpipe {
namespace {

constexpr std::string_view kKeys[] = {"variant", "sampler", "sample", "score", "count"};

// One [[ablate]]. A value that is no list counts as a list of one.
class GridCheck {
 public:
  GridCheck(const Table& table, const Experiment& experiment, PluginTables& plugins, std::vector<Problem>& problems)
      : table_(table), experiment_(experiment), plugins_(plugins), problems_(problems) {}

  AblationGrid check() {
    AblationGrid grid;
    check_keys();
    grid.variants = variants();
    if (const Table::Entry* entry = table_.find("sampler")) grid.samplers = samplers(*entry);
    if (const Table::Entry* entry = table_.find("sample")) grid.axes = axes(*entry);
    grid.scores = scores();
    grid.count = count();
    check_count(grid);
    return grid;
  }

 private:
  void complain(const Position& where, std::string_view text) {
    problems_.push_back({where, fmt::format("table \"ablate\": {}", text)});
  }

  void check_keys() {
    const std::vector<std::string> known = {std::begin(kKeys), std::end(kKeys)};
    for (const Table::Entry& entry : table_.entries) {
      if (std::find(known.begin(), known.end(), entry.key) != known.end()) continue;
      // What stands one level too high is told where it belongs.
      const Schema& sample = sample_schema();
      const bool of_sample =
          std::any_of(sample.begin(), sample.end(), [&](const Param& p) { return p.key == entry.key; });
      const std::string hint =
          of_sample ? fmt::format("; did you mean \"sample.{}\"?", entry.key) : did_you_mean(entry.key, known);
      complain(entry.key_where,
               fmt::format("unknown parameter \"{}\"{}", entry.key, hint.empty() ? "; known: " + join(known) : hint));
    }
  }

  std::vector<Value> list_of(const Table::Entry& entry, std::string_view name, std::string_view otherwise) {
    const Array* list = entry.value.get_if<Array>();
    if (!list) return {entry.value};
    if (list->empty()) {
      complain(entry.value.where,
               fmt::format("\"{}\" must not be an empty list: leave it out for {}", name, otherwise));
    }
    return *list;
  }

  std::vector<std::string> variants() {
    std::vector<std::string> all, chosen;
    for (const Variant& variant : experiment_.variants) all.push_back(variant.name);
    const Table::Entry* entry = table_.find("variant");
    if (!entry) return all;
    if (all.empty()) {
      complain(entry->key_where, "\"variant\" is given, but the file has no [[variant]]: remove it");
      return {};
    }
    for (const Value& value : list_of(*entry, "variant", "all of them")) {
      const std::string* name = value.get_if<std::string>();
      if (!name) {
        complain(value.where, fmt::format("\"variant\" must hold names of variants, not {}", value.type_name()));
      } else if (std::find(all.begin(), all.end(), *name) == all.end()) {
        complain(value.where, fmt::format("no variant named {}; known: {}{}", toml_text(*name), join(all),
                                          did_you_mean(*name, all)));
      } else {
        chosen.push_back(*name);
      }
    }
    return chosen;
  }

  std::vector<PluginChoice> samplers(const Table::Entry& entry) {
    std::vector<PluginChoice> choices;
    for (const Value& value : list_of(entry, "sampler", "the pipeline's own")) {
      const Table* table = value.get_if<Table>();
      if (!table) {
        complain(value.where, fmt::format("\"sampler\" must hold tables, for example [{{ type = \"ddim\" }}], not {}",
                                          value.type_name()));
        continue;
      }
      choices.push_back(plugins_.one(SDP_KIND_SAMPLER, *table, "ablate.sampler"));
      check_capability(experiment_.base.run, choices.back(), problems_);
    }
    return choices;
  }

  // The value alone against its parameter: every other one has a default.
  std::optional<Setting> checked(const Schema& schema, const std::string& key, const Value& value,
                                 std::string_view what) {
    Table one;
    one.where = value.where;
    one.entries.push_back({key, value.where, value});
    const size_t before = problems_.size();
    const Settings settings = check_table(schema, one, what, {}, problems_);
    if (problems_.size() > before) return std::nullopt;
    return settings.at(key).value;
  }

  std::vector<SampleAxis> axes(const Table::Entry& sample) {
    const Table* table = sample.value.get_if<Table>();
    if (!table) {
      complain(sample.key_where, fmt::format("\"sample\" must be a table, for example sample.steps = [10, 50], not {}",
                                             sample.value.type_name()));
      return {};
    }
    check_sample_keys(*table);
    std::vector<SampleAxis> axes;
    for (const Param& param : sample_schema()) {
      const Table::Entry* entry = table->find(param.key);
      if (!entry || param.key == "count" || param.key == "batch") continue;
      SampleAxis axis{param.key, {}, entry->value.where};
      for (const Value& value : list_of(*entry, "sample." + param.key, "the pipeline's own")) {
        if (auto setting = checked(sample_schema(), param.key, value, "table \"ablate.sample\""))
          axis.values.push_back(std::move(*setting));
      }
      axes.push_back(std::move(axis));
    }
    return axes;
  }

  void check_sample_keys(const Table& table) {
    for (const Table::Entry& entry : table.entries) {
      const Schema& schema = sample_schema();
      const auto is_it = [&](const Param& p) { return p.key == entry.key; };
      if (entry.key == "count") {
        complain(entry.key_where,
                 "\"sample.count\" cannot vary, because scores of few samples are biased: write count = N");
      } else if (entry.key == "batch") {
        complain(entry.key_where,
                 "\"sample.batch\" cannot vary, because it is no setting to compare: set it in [sample]");
      } else if (std::none_of(schema.begin(), schema.end(), is_it)) {
        checked(schema, entry.key, Value{false, entry.key_where}, "table \"ablate.sample\"");
      }
    }
  }

  std::vector<std::string> scores() {
    const Table::Entry* entry = table_.find("score");
    if (!entry) return {std::get<std::string>(*ablate_schema()[0].def)};
    std::vector<std::string> names;
    for (const Value& value : list_of(*entry, "score", "frechet")) {
      const auto name = checked(ablate_schema(), "score", value, "table \"ablate\"");
      const bool is_new = name && std::find(names.begin(), names.end(), std::get<std::string>(*name)) == names.end();
      if (is_new) names.push_back(std::get<std::string>(*name));
    }
    return names;
  }

  int64_t count() {
    const Table::Entry* entry = table_.find("count");
    const auto value = entry ? checked(ablate_schema(), "count", entry->value, "table \"ablate\"") : std::nullopt;
    return value ? std::get<int64_t>(*value) : 0;
  }

  // The scores' estimates need four samples.
  void check_count(const AblationGrid& grid) {
    constexpr int64_t fewest = 4;
    const Table::Entry* entry = table_.find("count");
    if (grid.count > 0 && grid.count < fewest)
      complain(entry->value.where,
               fmt::format("\"count\" must be at least {} samples a cell, not {}", fewest, grid.count));
    if (grid.count > 0) return;
    const auto check_own = [&](const Pipeline& pipeline, const std::string& whose) {
      const Settings::Entry* own = pipeline.sample.find("count");
      if (!own || std::get<int64_t>(own->value) >= fewest) return;
      complain(table_.where, fmt::format("add count = N, at least {} samples a cell; sample.count{} is {}", fewest,
                                         whose, std::get<int64_t>(own->value)));
    };
    if (experiment_.variants.empty()) check_own(experiment_.base, "");
    for (const Variant& variant : experiment_.variants) {
      if (std::find(grid.variants.begin(), grid.variants.end(), variant.name) != grid.variants.end())
        check_own(variant.pipeline, fmt::format(" of variant \"{}\"", variant.name));
    }
  }

  const Table& table_;
  const Experiment& experiment_;
  PluginTables& plugins_;
  std::vector<Problem>& problems_;
};

}  // namespace

std::vector<AblationGrid> check_ablations(const Document& document, const Experiment& experiment,
                                          const std::filesystem::path& file, const Registry& registry,
                                          std::vector<Problem>& problems) {
  PluginTables plugins(registry, std::filesystem::absolute(file).parent_path(), problems);
  std::vector<AblationGrid> grids;
  for (const Table* table : list_of_tables(document, "ablate", problems))
    grids.push_back(GridCheck(*table, experiment, plugins, problems).check());
  return grids;
}

}  // namespace sdpipe
