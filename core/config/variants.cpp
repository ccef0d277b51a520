#include "core/config/variants.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "core/base/text.hpp"
#include "core/config/check_pipeline.hpp"
#include "core/config/overrides.hpp"

namespace sdpipe {
namespace {

bool same_place(const Position& a, const Position& b) {
  return a.source == b.source && a.line == b.line && a.column == b.column;
}

bool holds_place(const Value& value, const Position& where);

bool holds_place(const Table& table, const Position& where) {
  return same_place(table.where, where) ||
         std::any_of(table.entries.begin(), table.entries.end(), [&](const Table::Entry& e) {
           return same_place(e.key_where, where) || holds_place(e.value, where);
         });
}

bool holds_place(const Value& value, const Position& where) {
  if (same_place(value.where, where)) return true;
  if (const Table* table = value.get_if<Table>()) return holds_place(*table, where);
  const Array* list = value.get_if<Array>();
  return list && std::any_of(list->begin(), list->end(), [&](const Value& v) { return holds_place(v, where); });
}

bool is_false(const Value& value) {
  const bool* flag = value.get_if<bool>();
  return flag && !*flag;
}

// One [[variant]]: its tables merged over the file's.
class VariantCheck {
 public:
  VariantCheck(const Document& document, const Table& table, std::string name, std::vector<Problem>& problems)
      : document_(document), table_(table), name_(std::move(name)), problems_(problems) {}

  Document merged() {
    Document document = document_;
    for (const Table::Entry& entry : table_.entries) {
      if (entry.key != "name" && entry.key != "seeds" && may_vary(entry)) put(document.root, entry);
    }
    return document;
  }

  // Of its trainings; empty where the file gives none.
  std::vector<int64_t> seeds() {
    const Table::Entry* entry = table_.find("seeds");
    if (!entry) return {};
    const Array* list = entry->value.get_if<Array>();
    if (!list || list->empty()) {
      complain(entry->value.where, fmt::format("\"seeds\" must be a list of seeds, for example [0, 1, 2], not {}",
                                               list ? std::string("an empty list: leave it out for run.seed alone")
                                                    : std::string(entry->value.type_name())));
      return {};
    }
    refuse_own_seed();
    std::vector<int64_t> seeds;
    for (const Value& value : *list) {
      const int64_t* seed = value.get_if<int64_t>();
      if (!seed)
        complain(value.where, fmt::format("\"seeds\" must hold integers, not {}", value.type_name()));
      else if (*seed < 0)
        complain(value.where, fmt::format("\"seeds\" must be >= 0, not {}", *seed));
      else if (std::find(seeds.begin(), seeds.end(), *seed) != seeds.end())
        complain(value.where, fmt::format("\"seeds\" holds {} twice: each is one training", *seed));
      else
        seeds.push_back(*seed);
    }
    return seeds;
  }

  // What is wrong with the merged document, and is not the base's own fault.
  void add(const std::vector<Problem>& found, const std::vector<Problem>& of_base) {
    for (const Problem& problem : found) {
      const bool known = std::any_of(of_base.begin(), of_base.end(), [&](const Problem& p) {
        return p.text == problem.text && same_place(p.where, problem.where);
      });
      if (known) continue;
      if (holds_place(table_, problem.where))
        complain(problem.where, problem.text);
      else
        complain(table_.where, problem.text + remedy(problem.text));
    }
  }

 private:
  void complain(const Position& where, const std::string& text) {
    problems_.push_back({where, fmt::format("variant \"{}\": {}", name_, text)});
  }

  // What stands in the file cannot be removed there for one variant alone.
  static std::string remedy(const std::string& text) {
    for (const char* table : {"noise", "train"}) {
      if (text.ends_with(fmt::format(": remove [{}]", table))) return fmt::format(" with {} = false", table);
    }
    return "";
  }

  void refuse_own_seed() {
    const Table::Entry* entry = table_.find("run");
    const Table* run = entry ? entry->value.get_if<Table>() : nullptr;
    if (const Table::Entry* seed = run ? run->find("seed") : nullptr)
      complain(seed->key_where, "\"seeds\" gives run.seed of each training: remove one of the two");
  }

  bool may_vary(const Table::Entry& entry) {
    const std::vector<std::string> tables = pipeline_tables();
    if (std::find(tables.begin(), tables.end(), entry.key) == tables.end()) {
      std::vector<std::string> known = tables;
      known.push_back("seeds");
      complain(entry.key_where, fmt::format("unknown table \"{}\"{}", entry.key, did_you_mean(entry.key, known)));
      return false;
    }
    if (entry.key == "data") {
      complain(entry.key_where, "[data] is the same for all variants, so that their samples can be compared");
      return false;
    }
    const Table* run = entry.key == "run" ? entry.value.get_if<Table>() : nullptr;
    if (!run) return true;
    const auto fixed = [](const Table::Entry& e) { return e.key != "seed" && e.key != "threads"; };
    const auto it = std::find_if(run->entries.begin(), run->entries.end(), fixed);
    if (it == run->entries.end()) return true;
    complain(it->key_where, fmt::format("of [run] a variant may change seed and threads alone, not \"{}\"", it->key));
    return false;
  }

  void put(Table& root, const Table::Entry& given) {
    const bool removes = (given.key == "noise" || given.key == "train") && is_false(given.value);
    if (removes) {
      auto& entries = root.entries;
      entries.erase(std::remove_if(entries.begin(), entries.end(), [&](const auto& e) { return e.key == given.key; }),
                    entries.end());
      return;
    }
    Table::Entry* old = root.find(given.key);
    if (!old) return root.entries.push_back(given);
    Array* list = old->value.get_if<Array>();
    const Table* by_index = given.value.get_if<Table>();
    if (list && by_index && !by_index->find("type")) return put_elements(*list, *by_index);
    put_value(*old, given.value, given.key_where, is_plugin_slot(given.key));
  }

  // corruption.1.std_max = 3.0: operators of a composition by their index.
  void put_elements(Array& list, const Table& by_index) {
    for (const Table::Entry& given : by_index.entries) {
      size_t index = list.size();
      const char* end = given.key.data() + given.key.size();
      const auto [read, error] = std::from_chars(given.key.data(), end, index);
      if (error != std::errc() || read != end || index >= list.size()) {
        complain(given.key_where, fmt::format("\"corruption\" is a list of {}: say which one by its index from 0, or "
                                              "give another list, or a table with \"type\"",
                                              list.size()));
        return;
      }
      Table::Entry element{given.key, given.key_where, std::move(list[index])};
      put_value(element, given.value, given.key_where, true);
      list[index] = std::move(element.value);
    }
  }

  const Document& document_;
  const Table& table_;
  std::string name_;
  std::vector<Problem>& problems_;
};

// The variant's name, or nothing where it has none that serves.
std::optional<std::string> name_of(const Table& table, const std::string& run, std::set<std::string>& taken,
                                   std::vector<Problem>& problems) {
  const auto refuse = [&](const Position& where, std::string text) {
    problems.push_back({where, std::move(text)});
    return std::nullopt;
  };
  const Table::Entry* entry = table.find("name");
  if (!entry)
    return refuse(table.where, "table \"variant\": \"name\" is missing, which its folder has under variants/");
  const Position& where = entry->value.where;
  const std::string* name = entry->value.get_if<std::string>();
  if (!name) {
    return refuse(where, fmt::format("table \"variant\": \"name\" must be a string, not {}", entry->value.type_name()));
  }
  if (!is_plain_folder_name(*name) || !is_plain_folder_name(run + "." + *name)) {
    return refuse(where, fmt::format("table \"variant\": \"name\" must be a plain folder name (no \"/\", no \".\" or "
                                     "\"-\" in front, with run.name at most 199 bytes), not {}",
                                     toml_text(*name)));
  }
  if (taken.insert(*name).second) return *name;
  return refuse(where, fmt::format("table \"variant\": \"{}\" is the name of an earlier variant", *name));
}

// The folders of the trainings: variants/NAME, or variants/NAME.seed-SEED of each.
std::vector<Variant> trainings(const std::string& family, const Pipeline& pipeline, const std::vector<int64_t>& seeds) {
  if (seeds.empty()) return {{family, pipeline, family}};
  std::vector<Variant> variants;
  for (const int64_t seed : seeds) {
    variants.push_back({fmt::format("{}.seed-{}", family, seed), pipeline, family});
    Settings::Entry* its = variants.back().pipeline.run.find("seed");
    if (!its) continue;
    its->value = seed;
    its->is_set = true;
  }
  return variants;
}

// name_of has looked at the family's alone.
void check_folder(const Table& table, const Variant& variant, std::set<std::string>& taken,
                  std::vector<Problem>& problems) {
  const Position& where = table.find("seeds")->value.where;
  if (!taken.insert(variant.name).second)
    problems.push_back(
        {where, fmt::format("table \"variant\": \"{}\" is the name of an earlier variant", variant.name)});
  const Settings::Entry* run = variant.pipeline.run.find("name");
  if (run && !is_plain_folder_name(std::get<std::string>(run->value)))
    problems.push_back({where, fmt::format("table \"variant\": \"{}\" and run.name are too long for a folder's name: "
                                           "at most 199 bytes together",
                                           variant.name)});
}

}  // namespace

std::vector<const Table*> list_of_tables(const Document& document, std::string_view name,
                                         std::vector<Problem>& problems) {
  const Table::Entry* entry = document.root.find(name);
  if (!entry) return {};
  std::vector<const Table*> tables;
  const Array* list = entry->value.get_if<Array>();
  if (list) {
    for (const Value& value : *list) {
      if (const Table* table = value.get_if<Table>()) tables.push_back(table);
    }
  }
  if (list && !list->empty() && tables.size() == list->size()) return tables;
  const std::string given = !list           ? std::string(entry->value.type_name())
                            : list->empty() ? "an empty array"
                                            : "an array that holds something else";
  problems.push_back(
      {entry->key_where, fmt::format("\"{0}\" must be a list of tables, each written [[{0}]], not {1}", name, given)});
  return {};
}

std::vector<Variant> check_variants(const Document& document, const Pipeline& base, const std::filesystem::path& file,
                                    const Registry& registry, std::vector<Problem>& problems) {
  const std::vector<Problem> of_base = problems;
  std::vector<Variant> variants;
  std::set<std::string> taken;
  const Settings::Entry* run = base.run.find("name");
  const Settings::Entry* seed = base.sample.find("seed");
  const std::string run_name = run ? std::get<std::string>(run->value) : "";
  for (const Table* table : list_of_tables(document, "variant", problems)) {
    const std::optional<std::string> name = name_of(*table, run_name, taken, problems);
    VariantCheck check(document, *table, name.value_or("?"), problems);
    std::vector<Problem> found;
    Pipeline pipeline = check_pipeline(check.merged(), file, registry, found);
    check.add(found, of_base);
    auto* its_seed = pipeline.sample.find("seed");
    if (its_seed && seed && !its_seed->is_set) its_seed->value = seed->value;
    for (Variant& variant : trainings(name.value_or("?"), pipeline, check.seeds())) {
      if (auto* its = variant.pipeline.run.find("name")) its->value = run_name + "." + variant.name;
      if (variant.is_seeded() && name) check_folder(*table, variant, taken, problems);
      variants.push_back(std::move(variant));
    }
  }
  return variants;
}

}  // namespace sdpipe
