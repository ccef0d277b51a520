#include "core/config/overrides.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "core/base/text.hpp"

namespace sdpipe {
namespace {

// Explains one problem and ends one argument.
struct Refused {
  Problem problem;
};

struct Argument {
  enum class Verb { set, add, remove };
  Verb verb = Verb::set;
  std::vector<std::string> path;
  std::vector<uint32_t> columns;  // of each key of the path
  std::string value;
  uint32_t value_column = 0;
  std::shared_ptr<const SourceText> source;

  Position at(size_t i) const { return {source, 1, columns[i]}; }
  // "train.batch", or the first `n` keys of it.
  std::string name(size_t n) const {
    return join(std::vector<std::string>(path.begin(), path.begin() + static_cast<std::ptrdiff_t>(n)), ".");
  }
  std::string name() const { return name(path.size()); }
};

uint32_t code_points(std::string_view text) {
  return static_cast<uint32_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

void split_path(Argument& argument, std::string_view text, size_t begin, size_t end) {
  for (size_t at = begin; at <= end;) {
    const size_t dot = std::min(text.find('.', at), end);
    argument.path.emplace_back(text.substr(at, dot - at));
    argument.columns.push_back(code_points(text.substr(0, at)) + 1);
    if (argument.path.back().empty()) throw Refused{{argument.at(argument.path.size() - 1), "a key is missing here"}};
    at = dot + 1;
  }
}

Argument parse_argument(const std::string& text, size_t number) {
  Argument argument;
  argument.source = std::make_shared<SourceText>(SourceText{fmt::format("<command line>#{}", number), {text}});
  size_t begin = 0;
  if (!text.empty() && (text[0] == '+' || text[0] == '~')) {
    argument.verb = text[0] == '+' ? Argument::Verb::add : Argument::Verb::remove;
    begin = 1;
  }
  const size_t equals = text.find('=');
  const bool removes = argument.verb == Argument::Verb::remove;
  if (removes != (equals == std::string::npos)) {
    const std::string_view hint = removes ? "~key takes no value" : "an override is key=value, +key=value or ~key";
    throw Refused{{{argument.source, 1, 1}, std::string(hint)}};
  }
  split_path(argument, text, begin, removes ? text.size() : equals);
  if (!removes) {
    argument.value = text.substr(equals + 1);
    argument.value_column = code_points(std::string_view(text).substr(0, equals + 1)) + 1;
  }
  return argument;
}

// ------------------------------------------------------------------------------------------------ walking the tree

std::optional<size_t> index_of(const std::string& key) {
  size_t index = 0;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), index);
  return error == std::errc() && end == key.data() + key.size() ? std::optional(index) : std::nullopt;
}

[[noreturn]] void refuse_index(const Argument& argument, size_t i, size_t size) {
  const std::string list = argument.name(i);
  if (!index_of(argument.path[i])) {
    throw Refused{{argument.at(i), fmt::format("\"{0}\" is a list of {1}: say which one, for example {0}.0.{2}", list,
                                               size, argument.path[i])}};
  }
  throw Refused{{argument.at(i), fmt::format("there is no {}: the list \"{}\" holds {}, counted from 0",
                                             argument.name(i + 1), list, size)}};
}

// The value that the first `n` keys of the path lead to; null where the file has none. `+` makes tables on the way.
class Walk {
 public:
  Walk(Document& document, const Argument& argument) : document_(document), argument_(argument) {}

  // The table or list that holds the last key.
  struct Holder {
    Table* table = nullptr;
    Array* list = nullptr;
  };

  Holder holder() {
    Holder at{&document_.root, nullptr};
    for (size_t i = 0; i + 1 < argument_.path.size(); ++i) at = enter(child(at, i), i);
    return at;
  }

 private:
  Value& child(Holder at, size_t i) {
    const std::string& key = argument_.path[i];
    if (at.list) {
      const auto index = index_of(key);
      if (!index || *index >= at.list->size()) refuse_index(argument_, i, at.list->size());
      return (*at.list)[*index];
    }
    if (Table::Entry* entry = at.table->find(key)) return entry->value;
    const bool always_there = i == 0 && (key == "run" || key == "sample");
    if (argument_.verb == Argument::Verb::add || (argument_.verb == Argument::Verb::set && always_there)) {
      at.table->entries.push_back({key, argument_.at(i), {Table{{}, argument_.at(i)}, argument_.at(i)}});
      return at.table->entries.back().value;
    }
    const std::string remedy =
        argument_.verb == Argument::Verb::set ? fmt::format("; +{}={} adds it", argument_.name(), argument_.value) : "";
    throw Refused{{argument_.at(i), fmt::format("there is no table \"{}\" in the file{}{}", argument_.name(i + 1),
                                                did_you_mean(key, at.table->keys()), remedy)}};
  }

  Holder enter(Value& value, size_t i) {
    if (Table* table = value.get_if<Table>()) return {table, nullptr};
    Array* list = value.get_if<Array>();
    const bool of_tables = list && !list->empty() && (*list)[0].get_if<Table>();
    if (of_tables) return {nullptr, list};
    throw Refused{
        {argument_.at(i), fmt::format("\"{}\" is {}, not a table", argument_.name(i + 1), value.type_name())}};
  }

  Document& document_;
  const Argument& argument_;
};

// ------------------------------------------------------------------------------------------------ the three verbs

class Override {
 public:
  Override(Document& document, Argument argument) : document_(document), argument_(std::move(argument)) {}

  void apply(std::vector<Problem>& problems) {
    if (argument_.verb == Argument::Verb::remove) return remove();
    auto value = parse_argument_value(argument_.value, argument_.source, argument_.value_column, problems);
    if (value) set(std::move(*value));
  }

 private:
  const std::string& last() const { return argument_.path.back(); }
  size_t last_index() const { return argument_.path.size() - 1; }

  void remove() {
    const Walk::Holder holder = Walk(document_, argument_).holder();
    if (holder.list) {
      const auto index = index_of(last());
      if (!index || *index >= holder.list->size()) refuse_index(argument_, last_index(), holder.list->size());
      holder.list->erase(holder.list->begin() + static_cast<std::ptrdiff_t>(*index));
      return;
    }
    auto& entries = holder.table->entries;
    const auto it = std::find_if(entries.begin(), entries.end(), [&](const auto& e) { return e.key == last(); });
    if (it == entries.end()) {
      throw Refused{
          {argument_.at(last_index()), fmt::format("nothing to remove: \"{}\" is not in the file{}", argument_.name(),
                                                   did_you_mean(last(), holder.table->keys()))}};
    }
    entries.erase(it);
  }

  void set(Value value) {
    const Walk::Holder holder = Walk(document_, argument_).holder();
    if (holder.list) return set_element(*holder.list, std::move(value));
    const bool* flag = value.get_if<bool>();
    if (argument_.path.size() == 1 && last() == "noise" && flag && !*flag) return drop_noise();
    if (!holder.table->find(last())) return add_entry(*holder.table, std::move(value));
    if (last() == "type" && is_operator_table(argument_.path.size() - 1)) drop_parameters(*holder.table, value);
    replace(*holder.table->find(last()), std::move(value), argument_.path.size());
  }

  void drop_noise() {
    auto& entries = document_.root.entries;
    entries.erase(std::remove_if(entries.begin(), entries.end(), [](const auto& e) { return e.key == "noise"; }),
                  entries.end());
  }

  // Do the first `n` keys lead to a table that chooses a plugin? A variant's tables are those of the file.
  bool is_operator_table(size_t n) const {
    const auto& path = argument_.path;
    const size_t first = path.size() > 2 && path[0] == "variant" && index_of(path[1]) ? 2 : 0;
    if (n == first + 1) return is_plugin_slot(path[first]);
    return n == first + 2 && path[first] == "corruption" && index_of(path[first + 1]);
  }

  void add_entry(Table& table, Value value) {
    const bool new_table = argument_.path.size() == 1 && argument_.verb == Argument::Verb::set;
    const bool always_there = last() == "run" || last() == "sample";
    if (new_table && !always_there) {
      throw Refused{{argument_.at(0), fmt::format("there is no table \"{}\" in the file{}; +{}={} adds it", last(),
                                                  did_you_mean(last(), table.keys()), last(), argument_.value)}};
    }
    table.entries.push_back({last(), argument_.at(last_index()), std::move(value)});
  }

  void set_element(Array& list, Value value) {
    const auto index = index_of(last());
    const bool extends = index && *index == list.size() && argument_.verb == Argument::Verb::add;
    if (extends) return list.push_back(std::move(value));
    if (!index || *index >= list.size()) refuse_index(argument_, last_index(), list.size());
    Table::Entry element{last(), argument_.at(last_index()), std::move(list[*index])};
    replace(element, std::move(value), argument_.path.size());
    list[*index] = std::move(element.value);
  }

  // Another plugin has other parameters: those of the file go, what the command line set before stays.
  void drop_parameters(Table& table, const Value& type) {
    if (same_text(table.find("type")->value, type)) return;
    const auto is_dropped = [&](const Table::Entry& e) {
      return e.key != "type" && e.key != "from" && e.key != "to" && e.value.where.source == document_.source;
    };
    table.entries.erase(std::remove_if(table.entries.begin(), table.entries.end(), is_dropped), table.entries.end());
  }

  static bool same_text(const Value& a, const Value& b) {
    const std::string* x = a.get_if<std::string>();
    const std::string* y = b.get_if<std::string>();
    return x && y && *x == *y;
  }

  void replace(Table::Entry& entry, Value value, size_t depth) {
    const Table* given = value.get_if<Table>();
    const bool chooses = is_operator_table(depth);
    const bool list_needs_index = given && chooses && !given->find("type") && entry.value.get_if<Array>();
    if (list_needs_index) refuse_merge_into_list(entry.value.get_if<Array>()->size());
    put_value(entry, std::move(value), argument_.at(last_index()), chooses);
  }

  [[noreturn]] void refuse_merge_into_list(size_t size) const {
    throw Refused{
        {argument_.at(last_index()), fmt::format("\"{0}\" is a list of {1}: say which one, for example {0}.0={2}",
                                                 argument_.name(), size, argument_.value)}};
  }

  Document& document_;
  Argument argument_;
};

void merge(Table& into, Table from) {
  for (Table::Entry& entry : from.entries) {
    Table::Entry* old = into.find(entry.key);
    if (old)
      *old = std::move(entry);
    else
      into.entries.push_back(std::move(entry));
  }
}

}  // namespace

bool is_plugin_slot(std::string_view name) {
  constexpr std::string_view slots[] = {"corruption", "schedule", "noise", "model", "sampler"};
  return std::count(std::begin(slots), std::end(slots), name) != 0;
}

void put_value(Table::Entry& entry, Value value, const Position& key_where, bool chooses_plugin) {
  Table* old = entry.value.get_if<Table>();
  Table* given = value.get_if<Table>();
  const bool whole = given && chooses_plugin && given->find("type");
  if (old && given && !whole) return merge(*old, std::move(*given));
  entry.value = std::move(value);
  entry.key_where = key_where;
}

void apply_overrides(Document& document, const std::vector<std::string>& arguments, std::vector<Problem>& problems) {
  for (size_t i = 0; i < arguments.size(); ++i) {
    try {
      Override(document, parse_argument(arguments[i], i + 1)).apply(problems);
    } catch (Refused& refused) {
      problems.push_back(std::move(refused.problem));
    }
  }
}

}  // namespace sdpipe
