// Parameters as data: what a table may hold, checked without running plugin code. The host's own tables ([run],
// [data], [train], [sample]) are described the same way, so that checking, `plugins show` and resolved.toml have one
// form.
#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/abi/plugin.h"
#include "core/base/value.hpp"

namespace sdpipe {

// An image parameter: the path as resolved against the pipeline file; decoded before a plugin is created.
struct ImageSetting {
  std::string path;
  std::vector<int64_t> shape;  // (channel, height, width)
  std::vector<float> pixels;   // 0 to 1
  bool operator==(const ImageSetting& other) const { return path == other.path; }
};

using Setting =
    std::variant<bool, int64_t, double, std::string, std::vector<double>, std::vector<int64_t>, ImageSetting>;

// As TOML: floats in the fewest digits that read back to the same number, strings escaped, an image by its path.
std::string toml_text(const Setting& setting);

// `type`, `from` and `to`: in a plugin's table they belong to the pipeline file.
bool is_reserved_key(std::string_view key);

enum class ParamType : int32_t {
  boolean = SDP_P_BOOL,
  integer = SDP_P_INT,
  real = SDP_P_FLOAT,
  string = SDP_P_STRING,
  choice = SDP_P_CHOICE,
  reals = SDP_P_FLOATS,
  integers = SDP_P_INTS,
  image = SDP_P_IMAGE,
  file = SDP_P_FILE,  // a string: the path as resolved against the pipeline file
};

struct Param {
  std::string key, doc, unit;
  ParamType type = ParamType::real;
  double min = -std::numeric_limits<double>::infinity();  // of each element in a list
  double max = std::numeric_limits<double>::infinity();
  bool exclusive_min = false, exclusive_max = false;
  std::vector<std::string> choices;
  std::optional<Setting> def;  // none: required

  bool required() const { return !def.has_value(); }
  bool contains(double value) const;
  // The choices in quotes.
  std::string choice_list(std::string_view separator) const;
  // "> 0 and <= 1", or nothing where both ends are open.
  std::string range() const;
  // "float > 0, px, default 23.0": for `plugins show` and the docs.
  std::string describe() const;
};

using Schema = std::vector<Param>;

// A plugin's schema, copied out of its descriptor.
Schema schema_of(const sdp_descriptor& plugin);

// What is wrong with a schema itself (keys that are not [a-z][a-z0-9_]*, twice the same, reserved `type`, `from`, `to`;
// a default outside its range; a choice without choices), one sentence each; empty if valid.
std::vector<std::string> schema_errors(const sdp_descriptor& plugin);

// A table after checking: every parameter of the schema, in its order, with its value.
class Settings {
 public:
  struct Entry {
    std::string key;
    Setting value;
    bool is_set = false;  // false: the default
    Position where;       // of the value; of the table where the default was taken
  };

  void add(Entry entry) { entries_.push_back(std::move(entry)); }
  const std::vector<Entry>& entries() const { return entries_; }
  std::vector<Entry>& entries() { return entries_; }
  // The key must exist with that type: anything else is a defect of the caller.
  template <class T>
  const T& get(std::string_view key) const {
    return std::get<T>(at(key).value);
  }
  double real(std::string_view key) const { return get<double>(key); }
  int64_t integer(std::string_view key) const { return get<int64_t>(key); }
  bool flag(std::string_view key) const { return get<bool>(key); }
  const std::string& text(std::string_view key) const { return get<std::string>(key); }
  const Entry& at(std::string_view key) const;
  // Null where there is none, as for a key that check_table refused.
  const Entry* find(std::string_view key) const;
  Entry* find(std::string_view key);

 private:
  std::vector<Entry> entries_;
};

// Checks `table` against `schema`: types, ranges, choices, missing and unknown keys. `what` begins each message, for
// example `table "heat_blur"`. Keys in `ignored` belong to the caller. Integers are accepted where floats are meant.
// Everything that is wrong is added to `problems`; the result is complete only where nothing was.
Settings check_table(const Schema& schema, const Table& table, std::string_view what,
                     const std::vector<std::string>& ignored, std::vector<Problem>& problems);

// All defaults (and nothing else). Throws PluginError naming the first required parameter, if there is one.
Settings default_settings(const Schema& schema);

// Settings in the ABI's form: values()[i] answers the i-th parameter of the schema. Borrows from `settings`.
class AbiValues {
 public:
  AbiValues(const Schema& schema, const Settings& settings);
  const sdp_value* const* values() const { return pointers_.data(); }

 private:
  std::deque<sdp_value> values_;
  std::deque<std::vector<int64_t>> shapes_;
  std::deque<sdp_tensor> images_;
  std::vector<const sdp_value*> pointers_;
};

}  // namespace sdpipe
