#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "core/base/error.hpp"
#include "core/base/text.hpp"
#include "core/host/schema.hpp"

namespace sdpipe {
namespace {

std::string_view wanted_text(ParamType type) {
  switch (type) {
    case ParamType::boolean:
      return "a boolean";
    case ParamType::integer:
      return "an integer";
    case ParamType::real:
      return "a float";
    case ParamType::string:
    case ParamType::choice:
      return "a string";
    case ParamType::reals:
      return "an array of floats";
    case ParamType::integers:
      return "an array of integers";
    case ParamType::image:
      return "a string, the path of an image";
    case ParamType::file:
      return "a string, the path of a file";
  }
  return "?";
}

// One parameter's value against its description; problems are told in the words of a sentence that began with the
// table and the key.
class ValueCheck {
 public:
  ValueCheck(const Param& param, std::string_view what, std::vector<Problem>& problems)
      : param_(param), what_(what), problems_(problems) {}

  std::optional<Setting> check(const Value& value) {
    switch (param_.type) {
      case ParamType::boolean:
        return plain<bool>(value);
      case ParamType::integer:
        return in_bounds<int64_t>(value);
      case ParamType::real:
        return in_bounds<double>(value);
      case ParamType::reals:
        return list<double>(value);
      case ParamType::integers:
        return list<int64_t>(value);
      case ParamType::choice:
        return choice(value);
      case ParamType::string:
        return text(value);
      case ParamType::file:
        return path(value);
      case ParamType::image:
        break;
    }
    const auto path = text(value);
    return path ? std::optional<Setting>(ImageSetting{std::get<std::string>(*path), {}, {}}) : std::nullopt;
  }

 private:
  std::nullopt_t complain(const Position& where, std::string_view text) {
    problems_.push_back({where, fmt::format("{}: parameter \"{}\" {}", what_, param_.key, text)});
    return std::nullopt;
  }
  std::nullopt_t wrong_type(const Value& value) {
    return complain(value.where, fmt::format("must be {}, not {}", wanted_text(param_.type), value.type_name()));
  }

  template <class T>
  std::optional<Setting> plain(const Value& value) {
    if (const T* found = value.get_if<T>()) return Setting(*found);
    return wrong_type(value);
  }

  template <class T>
  static std::optional<T> number(const Value& value) {
    if (const T* found = value.get_if<T>()) return *found;
    if constexpr (std::is_same_v<T, double>) {
      if (const int64_t* found = value.get_if<int64_t>()) return static_cast<double>(*found);
    }
    return std::nullopt;
  }

  template <class T>
  bool bounded(T number, const Position& where, std::string_view subject) {
    const std::string shown = fmt::format("{}", number);
    if (!std::isfinite(static_cast<double>(number))) {
      complain(where, fmt::format("{}must be finite, not {}", subject, shown));
      return false;
    }
    if (param_.contains(static_cast<double>(number))) return true;
    complain(where, fmt::format("{}must be {}, not {}", subject, param_.range(), shown));
    return false;
  }

  template <class T>
  std::optional<Setting> in_bounds(const Value& value) {
    const auto found = number<T>(value);
    if (!found) return wrong_type(value);
    return bounded(*found, value.where, "") ? std::optional<Setting>(*found) : std::nullopt;
  }

  template <class T>
  std::optional<Setting> list(const Value& value) {
    const Array* array = value.get_if<Array>();
    if (!array) return wrong_type(value);
    std::vector<T> out;
    bool good = true;
    for (size_t i = 0; i < array->size(); ++i) {
      const auto found = number<T>((*array)[i]);
      if (!found) {
        return complain((*array)[i].where, fmt::format("must be {}, but element {} is {}", wanted_text(param_.type),
                                                       i + 1, (*array)[i].type_name()));
      }
      good &= bounded(*found, (*array)[i].where, fmt::format("element {} ", i + 1));
      out.push_back(*found);
    }
    return good ? std::optional<Setting>(std::move(out)) : std::nullopt;
  }

  std::optional<Setting> text(const Value& value) {
    const std::string* found = value.get_if<std::string>();
    if (!found) return wrong_type(value);
    if (found->find('\0') != std::string::npos) return complain(value.where, "must not hold a NUL character");
    return Setting(*found);
  }

  std::optional<Setting> path(const Value& value) {
    const std::string* found = value.get_if<std::string>();
    if (found && found->empty()) return complain(value.where, "must name a file");
    return text(value);
  }

  std::optional<Setting> choice(const Value& value) {
    const std::string* found = value.get_if<std::string>();
    if (!found) return wrong_type(value);
    if (std::count(param_.choices.begin(), param_.choices.end(), *found)) return Setting(*found);
    return complain(value.where, fmt::format("must be one of {}, not {}{}", param_.choice_list(", "), toml_text(*found),
                                             did_you_mean(*found, param_.choices)));
  }

  const Param& param_;
  std::string_view what_;
  std::vector<Problem>& problems_;
};

void check_unknown_keys(const Schema& schema, const Table& table, std::string_view what,
                        const std::vector<std::string>& ignored, std::vector<Problem>& problems) {
  std::vector<std::string> known, listed;
  for (const Param& param : schema) listed.push_back(param.key);
  known = listed;
  for (const std::string& key : ignored) {
    known.push_back(key);
    if (!is_reserved_key(key)) listed.push_back(key);
  }
  for (const Table::Entry& entry : table.entries) {
    if (std::count(known.begin(), known.end(), entry.key)) continue;
    std::string hint = did_you_mean(entry.key, known);
    if (hint.empty()) hint = listed.empty() ? "; it has none" : "; known: " + join(listed);
    problems.push_back({entry.key_where, fmt::format("{}: unknown parameter {}{}", what, toml_text(entry.key), hint)});
  }
}

}  // namespace

const Settings::Entry& Settings::at(std::string_view key) const {
  const Entry* entry = find(key);
  if (!entry) throw std::logic_error(fmt::format("no setting \"{}\"", key));
  return *entry;
}

const Settings::Entry* Settings::find(std::string_view key) const {
  const auto it = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.key == key; });
  return it == entries_.end() ? nullptr : &*it;
}

Settings::Entry* Settings::find(std::string_view key) { return const_cast<Entry*>(std::as_const(*this).find(key)); }

Settings check_table(const Schema& schema, const Table& table, std::string_view what,
                     const std::vector<std::string>& ignored, std::vector<Problem>& problems) {
  Settings settings;
  for (const Param& param : schema) {
    const Table::Entry* entry = table.find(param.key);
    if (entry) {
      const auto value = ValueCheck(param, what, problems).check(entry->value);
      if (value) settings.add({param.key, *value, true, entry->value.where});
    } else if (param.def) {
      settings.add({param.key, *param.def, false, table.where});
    } else {
      problems.push_back(
          {table.where, fmt::format("{}: parameter \"{}\" is missing ({})", what, param.key, param.describe())});
    }
  }
  check_unknown_keys(schema, table, what, ignored, problems);
  return settings;
}

Settings default_settings(const Schema& schema) {
  Settings settings;
  for (const Param& param : schema) {
    if (!param.def) throw PluginError(fmt::format("parameter \"{}\" has no default: it must be given", param.key));
    settings.add({param.key, *param.def, false, {}});
  }
  return settings;
}

}  // namespace sdpipe
