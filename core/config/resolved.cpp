#include "core/config/resolved.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "core/base/text.hpp"

namespace sdpipe {
namespace {

void write_settings(std::string& out, const Settings& settings) {
  for (const Settings::Entry& entry : settings.entries())
    out += fmt::format("{} = {}\n", entry.key, toml_text(entry.value));
}

void write_plugin(std::string& out, std::string_view header, const PluginChoice& choice, bool in_composition) {
  out += fmt::format("\n{}\ntype = {}\n", header, toml_text(choice.plugin->id()));
  if (in_composition) out += fmt::format("from = {}\nto = {}\n", toml_text(choice.from), toml_text(choice.to));
  write_settings(out, choice.settings);
}

void write_data(std::string& out, const Pipeline& pipeline) {
  out += "\n[data]\n";
  write_settings(out, pipeline.data);
  if (!pipeline.crop) return;
  const auto& center = pipeline.crop->center;
  const std::string where = center ? fmt::format("[{}, {}]", (*center)[0], (*center)[1]) : "\"image\"";
  out += fmt::format("crop = {{ size = {}, center = {} }}\n", pipeline.crop->size, where);
}

// ------------------------------------------------------------------------------------------------ variants, ablations

// What differs from `base`, as `train.batch = 64`; run.name follows from the variant's own, run.seed from its seeds.
void write_differences(std::string& out, std::string_view table, const Settings& base, const Settings& settings,
                       bool is_seeded = false) {
  for (const Settings::Entry& entry : settings.entries()) {
    const Settings::Entry* old = base.find(entry.key);
    const bool same = old && toml_text(old->value) == toml_text(entry.value);
    const bool follows = table == "run" && (entry.key == "name" || (entry.key == "seed" && is_seeded));
    if (!same && !follows) out += fmt::format("{}.{} = {}\n", table, entry.key, toml_text(entry.value));
  }
}

std::string plugin_text(std::string_view header, const PluginChoice& choice) {
  std::string text;
  write_plugin(text, header, choice, false);
  return text;
}

std::string corruption_text(std::string_view name, const Pipeline& pipeline) {
  const bool list = pipeline.composed();
  std::string text;
  for (const PluginChoice& choice : pipeline.corruption)
    write_plugin(text, list ? fmt::format("[[{}]]", name) : fmt::format("[{}]", name), choice, list);
  return text;
}

// `seeds`: of all trainings of its family, where the file gives them; run.seed follows from them.
void write_variant(std::string& out, const Pipeline& base, const Variant& variant, const std::vector<int64_t>& seeds) {
  const Pipeline& its = variant.pipeline;
  out += fmt::format("\n[[variant]]\nname = {}\n", toml_text(variant.family));
  if (variant.is_seeded()) out += fmt::format("seeds = {}\n", toml_text(seeds));
  if (base.noise && !its.noise) out += "noise = false\n";
  if (base.train && !its.train) out += "train = false\n";
  write_differences(out, "run", base.run, its.run, variant.is_seeded());
  if (its.train) write_differences(out, "train", base.train.value_or(Settings()), *its.train);
  write_differences(out, "sample", base.sample, its.sample);
  if (corruption_text("", its) != corruption_text("", base)) out += corruption_text("variant.corruption", its);
  const auto write = [&](std::string_view slot, const PluginChoice* old, const PluginChoice& choice) {
    if (!old || plugin_text("", *old) != plugin_text("", choice))
      out += plugin_text(fmt::format("[variant.{}]", slot), choice);
  };
  write("schedule", &base.schedule, its.schedule);
  if (its.noise) write("noise", base.noise ? &*base.noise : nullptr, *its.noise);
  write("model", &base.model, its.model);
  write("sampler", &base.sampler, its.sampler);
}

template <class T, class F>
std::string list_text(const std::vector<T>& values, F&& text) {
  std::string out;
  for (const T& value : values) out += (out.empty() ? "" : ", ") + text(value);
  return "[" + out + "]";
}

std::string set_keys(const Settings& settings) {
  std::string out;
  for (const Settings::Entry& entry : settings.entries()) {
    if (entry.is_set) out += fmt::format("{}{} = {}", out.empty() ? "" : ", ", entry.key, toml_text(entry.value));
  }
  return out;
}

std::string pattern_text(const RowPattern& pattern) {
  std::vector<std::string> keys;
  if (!pattern.variant.empty()) keys.push_back("variant = " + toml_text(pattern.variant));
  if (pattern.sampler) {
    const std::string set = set_keys(pattern.sampler->settings);
    keys.push_back(fmt::format("sampler = {{ type = {}{}{} }}", toml_text(pattern.sampler->plugin->id()),
                               set.empty() ? "" : ", ", set));
  }
  if (!pattern.sample.entries().empty()) keys.push_back(fmt::format("sample = {{ {} }}", set_keys(pattern.sample)));
  return keys.empty() ? "{}" : fmt::format("{{ {} }}", join(keys));
}

void write_grid(std::string& out, const AblationGrid& grid) {
  const auto text = [](const std::string& word) { return toml_text(word); };
  out += "\n[[ablate]]\n";
  if (!grid.variants.empty()) out += fmt::format("variant = {}\n", list_text(grid.variants, text));
  if (!grid.samplers.empty()) out += fmt::format("sampler = {}\n", list_text(grid.samplers, inline_toml));
  for (const SampleAxis& axis : grid.axes)
    out += fmt::format("sample.{} = {}\n", axis.key, list_text(axis.values, toml_text));
  out += fmt::format("score = {}\ncount = {}\n", list_text(grid.scores, text), grid.count);
  if (grid.baseline) out += fmt::format("baseline = {}\n", pattern_text(*grid.baseline));
}

// ------------------------------------------------------------------------------------------------ identity

// What resolved.toml says, as (key, text) pairs in its order: two runs are compared by it. A table that may be absent
// is a fact of its own, with its name as the key.
using Facts = std::vector<std::pair<std::string, std::string>>;

bool is_indifferent(const std::string& key) {
  static const std::set<std::string> keys = {"run.threads",
                                             "run.device",
                                             "run.deterministic",
                                             "run.synchronous",
                                             "data.workers",
                                             "train.checkpoint_every_images",
                                             "train.keep_checkpoints",
                                             "train.log_every",
                                             "train.accumulate"};
  return keys.count(key) != 0;
}

void add_settings(Facts& facts, const std::string& table, const Settings& settings) {
  for (const Settings::Entry& entry : settings.entries()) {
    const std::string key = table + "." + entry.key;
    if (!is_indifferent(key)) facts.emplace_back(key, toml_text(entry.value));
  }
}

void add_plugin(Facts& facts, const std::string& table, const PluginChoice& choice, bool in_composition) {
  facts.emplace_back(table, "");
  facts.emplace_back(table + ".type", toml_text(choice.plugin->id()));
  if (in_composition) {
    facts.emplace_back(table + ".from", toml_text(choice.from));
    facts.emplace_back(table + ".to", toml_text(choice.to));
  }
  add_settings(facts, table, choice.settings);
}

Facts facts_of(const Pipeline& pipeline) {
  Facts facts;
  add_settings(facts, "run", pipeline.run);
  add_settings(facts, "data", pipeline.data);
  if (pipeline.crop) {
    facts.emplace_back("data.crop", "");
    facts.emplace_back("data.crop.size", std::to_string(pipeline.crop->size));
    const auto& center = pipeline.crop->center;
    facts.emplace_back("data.crop.center", center ? fmt::format("{}, {}", (*center)[0], (*center)[1]) : "image");
  }
  for (size_t i = 0; i < pipeline.corruption.size(); ++i) {
    const std::string table = pipeline.composed() ? fmt::format("corruption.{}", i) : "corruption";
    add_plugin(facts, table, pipeline.corruption[i], pipeline.composed());
  }
  add_plugin(facts, "schedule", pipeline.schedule, false);
  if (pipeline.noise) add_plugin(facts, "noise", *pipeline.noise, false);
  add_plugin(facts, "model", pipeline.model, false);
  if (pipeline.train) {
    facts.emplace_back("train", "");
    add_settings(facts, "train", *pipeline.train);
  }
  return facts;
}

const std::string* find(const Facts& facts, const std::string& key) {
  const auto it = std::find_if(facts.begin(), facts.end(), [&](const auto& fact) { return fact.first == key; });
  return it == facts.end() ? nullptr : &it->second;
}

bool goes_on(const Pipeline& done, const Pipeline& next) {
  return done.train && next.train && next.train->text("decay") == "constant" &&
         next.train->integer("images") > done.train->integer("images");
}

bool agree(const Facts& a, const Facts& b, const std::string& key) {
  const std::string* x = find(a, key);
  const std::string* y = find(b, key);
  return x && y ? *x == *y : x == y;
}

// Where a table is there in one only, or has another type, its other keys say nothing more.
bool says_more(const Facts& a, const Facts& b, const std::string& key) {
  const std::string table = key.substr(0, key.rfind('.'));
  if (table == key) return true;
  return agree(a, b, table) && (key == table + ".type" || agree(a, b, table + ".type"));
}

}  // namespace

std::string to_toml(const Pipeline& pipeline) {
  std::string out = "[run]\n";
  write_settings(out, pipeline.run);
  write_data(out, pipeline);
  out += corruption_text("corruption", pipeline);
  write_plugin(out, "[schedule]", pipeline.schedule, false);
  if (pipeline.noise) write_plugin(out, "[noise]", *pipeline.noise, false);
  write_plugin(out, "[model]", pipeline.model, false);
  if (pipeline.train) {
    out += "\n[train]\n";
    write_settings(out, *pipeline.train);
  }
  write_plugin(out, "[sampler]", pipeline.sampler, false);
  out += "\n[sample]\n";
  write_settings(out, pipeline.sample);
  return out;
}

std::string to_toml(const Experiment& experiment) {
  std::string out = to_toml(experiment.base);
  for (size_t i = 0; i < experiment.variants.size();) {
    std::vector<int64_t> seeds;
    const size_t first = i;
    for (; i < experiment.variants.size() && experiment.variants[i].family == experiment.variants[first].family; ++i)
      seeds.push_back(experiment.variants[i].pipeline.run.integer("seed"));
    write_variant(out, experiment.base, experiment.variants[first], seeds);
  }
  for (const AblationGrid& grid : experiment.grids) write_grid(out, grid);
  return out;
}

std::string model_toml(const PluginChoice& model) { return plugin_text("[model]", model).substr(1); }

std::string inline_toml(const PluginChoice& choice) {
  std::string out = "{ type = " + toml_text(choice.plugin->id());
  for (const Settings::Entry& entry : choice.settings.entries())
    out += fmt::format(", {} = {}", entry.key, toml_text(entry.value));
  return out + " }";
}

std::vector<std::string> identity_differences(const Pipeline& done, const Pipeline& next) {
  const Facts before = facts_of(done), after = facts_of(next);
  std::vector<std::string> keys;
  const auto add = [&](const std::string& key) {
    const bool allowed = key == "train.images" && goes_on(done, next);
    if (!agree(before, after, key) && !allowed && says_more(before, after, key)) keys.push_back(key);
  };
  for (const auto& [key, text] : before) add(key);
  for (const auto& [key, text] : after) {
    if (!find(before, key)) add(key);
  }
  return keys;
}

}  // namespace sdpipe
