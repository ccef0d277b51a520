#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/base/text.hpp"
#include "core/config/check_pipeline.hpp"
#include "core/config/plugin_tables.hpp"
#include "core/config/tables.hpp"
#include "core/config/variants.hpp"

namespace sdpipe {
namespace {

constexpr std::string_view kKeys[] = {"variant", "sampler", "sample", "score", "count", "baseline"};

// Keys of [sample] that no axis has, and why.
struct Fixed {
  std::string_view key, why;
};
constexpr Fixed kFixed[] = {
    {"count", "scores of few samples are biased: write count = N"},
    {"batch", "it is no setting to compare: set it in [sample]"},
    {"prior_components", "the mixture is fitted once, before the training: set it in [sample]"},
};

const Fixed* fixed(std::string_view key) {
  const auto found = std::find_if(std::begin(kFixed), std::end(kFixed), [&](const Fixed& f) { return f.key == key; });
  return found == std::end(kFixed) ? nullptr : found;
}

// One [[ablate]]. A value that is no list counts as a list of one.
class GridCheck {
 public:
  GridCheck(const Table& table, const Experiment& experiment, PluginTables& plugins, std::vector<Problem>& problems)
      : table_(table), experiment_(experiment), plugins_(plugins), problems_(problems) {}

  AblationGrid check() {
    AblationGrid grid;
    grid.where = table_.where;
    check_keys();
    grid.variants = variants();
    if (const Table::Entry* entry = table_.find("sampler")) grid.samplers = samplers(*entry);
    if (const Table::Entry* entry = table_.find("sample")) grid.axes = axes(*entry);
    grid.scores = scores();
    grid.count = count();
    if (const Table::Entry* entry = table_.find("count")) grid.count_where = entry->value.where;
    check_count(grid);
    if (const Table::Entry* entry = table_.find("baseline")) grid.baseline = baseline(*entry);
    return grid;
  }

 private:
  void complain(const Position& where, std::string_view text) {
    problems_.push_back({where, fmt::format("table \"ablate\": {}", text)});
  }

  void check_keys() {
    const std::vector<std::string> known = {std::begin(kKeys), std::end(kKeys)};
    for (const Table::Entry& entry : table_.entries) {
      if (std::find(known.begin(), known.end(), entry.key) == known.end())
        complain(entry.key_where, fmt::format("unknown parameter \"{}\"{}", entry.key, hint(entry.key, known)));
    }
  }

  // What was probably meant; what stands one level too high is told where it belongs.
  static std::string hint(const std::string& key, const std::vector<std::string>& known) {
    const Schema& sample = sample_schema();
    if (std::any_of(sample.begin(), sample.end(), [&](const Param& p) { return p.key == key; }))
      return fmt::format("; did you mean \"sample.{}\"?", key);
    const std::string near = did_you_mean(key, known);
    return near.empty() ? "; known: " + join(known) : near;
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

  // Names of [[variant]] tables: the seeds of one are meant together.
  std::vector<std::string> families() const {
    std::vector<std::string> all;
    for (const Variant& variant : experiment_.variants) {
      if (all.empty() || all.back() != variant.family) all.push_back(variant.family);
    }
    return all;
  }

  std::vector<std::string> variants() {
    const std::vector<std::string> all = families();
    std::vector<std::string> chosen;
    const Table::Entry* entry = table_.find("variant");
    if (!entry) return all;
    if (all.empty()) {
      complain(entry->key_where, "\"variant\" is given, but the file has no [[variant]]: remove it");
      return {};
    }
    for (const Value& value : list_of(*entry, "variant", "all of them")) {
      if (const std::string* name = variant(value, all, "\"variant\" must hold names of variants")) {
        chosen.push_back(*name);
      }
    }
    return chosen;
  }

  // Null, and a problem, where the value is none of `all`.
  const std::string* variant(const Value& value, const std::vector<std::string>& all, std::string_view otherwise) {
    const std::string* name = value.get_if<std::string>();
    if (!name) {
      complain(value.where, fmt::format("{}, not {}", otherwise, value.type_name()));
    } else if (std::find(all.begin(), all.end(), *name) == all.end()) {
      complain(value.where,
               fmt::format("no variant named {}; known: {}{}", toml_text(*name), join(all), did_you_mean(*name, all)));
    } else {
      return name;
    }
    return nullptr;
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
      if (!entry || fixed(param.key)) continue;
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
      if (const Fixed* found = fixed(entry.key))
        complain(entry.key_where, fmt::format("\"sample.{}\" cannot vary, because {}", found->key, found->why));
      else if (std::none_of(schema.begin(), schema.end(), is_it))
        checked(schema, entry.key, Value{false, entry.key_where}, "table \"ablate.sample\"");
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
    std::string last;  // the seeds of one have one count
    for (const Variant& variant : experiment_.variants) {
      const bool is_new = variant.family != std::exchange(last, variant.family);
      if (is_new && std::find(grid.variants.begin(), grid.variants.end(), variant.family) != grid.variants.end())
        check_own(variant.pipeline, fmt::format(" of variant \"{}\"", variant.family));
    }
  }

  // `baseline = "clean"`, a variant's name, or a table with some of variant, sampler and sample.KEY.
  RowPattern baseline(const Table::Entry& entry) {
    RowPattern pattern;
    pattern.where = entry.value.where;
    const Table* table = entry.value.get_if<Table>();
    if (!table) {
      pattern.variant = baseline_variant(entry.value);
      return pattern;
    }
    for (const Table::Entry& key : table->entries) {
      if (key.key == "variant") {
        pattern.variant = baseline_variant(key.value);
      } else if (key.key == "sampler") {
        pattern.sampler = baseline_sampler(key.value);
      } else if (key.key == "sample") {
        pattern.sample = baseline_sample(key);
      } else {
        complain(key.key_where, fmt::format("unknown parameter \"{}\" of \"baseline\"{}", key.key,
                                            hint(key.key, {"variant", "sampler", "sample"})));
      }
    }
    return pattern;
  }

  std::string baseline_variant(const Value& value) {
    constexpr std::string_view forms =
        "\"baseline\" must be a variant's name, or a table, for example { sampler = { type = \"ddim\" } }";
    const std::vector<std::string> all = families();
    if (all.empty() && value.get_if<std::string>()) {
      complain(value.where,
               "\"baseline\" names a variant, but the file has no [[variant]]: write a table, for example "
               "{ sampler = { type = \"ddim\" } }");
      return "";
    }
    const std::string* name = variant(value, all, forms);
    return name ? *name : "";
  }

  std::optional<PluginChoice> baseline_sampler(const Value& value) {
    if (const Table* table = value.get_if<Table>()) {
      PluginChoice choice = plugins_.one(SDP_KIND_SAMPLER, *table, "ablate.baseline.sampler");
      return choice.plugin ? std::optional(std::move(choice)) : std::nullopt;
    }
    complain(value.where, fmt::format("\"sampler\" of \"baseline\" must be a table, for example {{ type = \"ddim\" }}, "
                                      "not {}",
                                      value.type_name()));
    return std::nullopt;
  }

  Settings baseline_sample(const Table::Entry& sample) {
    Settings settings;
    const Table* table = sample.value.get_if<Table>();
    if (!table) {
      complain(sample.value.where, fmt::format("\"sample\" of \"baseline\" must be a table, for example sample.steps = "
                                               "10, not {}",
                                               sample.value.type_name()));
      return settings;
    }
    for (const Table::Entry& entry : table->entries) {
      if (entry.key == "seed") {
        complain(entry.key_where, "\"sample.seed\" is no part of \"baseline\": a row is the mean over the seeds");
      } else if (auto value = checked(sample_schema(), entry.key, entry.value, "table \"ablate.baseline.sample\"")) {
        settings.add({entry.key, std::move(*value), true, entry.value.where});
      }
    }
    return settings;
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
  bool has_baseline = false;
  for (const AblationGrid& grid : grids) {
    if (grid.baseline && std::exchange(has_baseline, true))
      problems.push_back({grid.baseline->where,
                          "table \"ablate\": an earlier [[ablate]] gives \"baseline\" already: all of them are one "
                          "table, which has one"});
  }
  return grids;
}

}  // namespace sdpipe
