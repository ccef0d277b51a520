#include "core/host/schema.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <stdexcept>

#include "core/base/error.hpp"
#include "core/base/text.hpp"

namespace sdpipe {
namespace {

constexpr uint32_t kParamSize = SDP_SIZE_THROUGH(sdp_param, choices);
constexpr uint32_t kValueSize = SDP_SIZE_THROUGH(sdp_value, is_set);

std::string_view type_text(ParamType type) {
  switch (type) {
    case ParamType::boolean:
      return "boolean";
    case ParamType::integer:
      return "integer";
    case ParamType::real:
      return "float";
    case ParamType::string:
      return "string";
    case ParamType::choice:
      return "choice";
    case ParamType::reals:
      return "list of floats";
    case ParamType::integers:
      return "list of integers";
    case ParamType::image:
      return "image";
    case ParamType::file:
      return "file";
  }
  return "?";
}

std::string float_text(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_not_of("-0123456789") == std::string::npos) text += ".0";  // or TOML reads an integer
  return text;
}

std::string string_text(const std::string& value) {
  std::string out = "\"";
  for (const char c : value) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\r':
        out += "\\r";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
          out += fmt::format("\\u{:04X}", c);
        else
          out += c;
    }
  }
  return out + '"';
}

template <class T, class F>
std::string list_text(const std::vector<T>& values, F&& text) {
  std::vector<std::string> parts;
  for (const T& value : values) parts.push_back(text(value));
  return fmt::format("[{}]", join(parts));
}

Setting default_of(ParamType type, const sdp_value& v) {
  const auto text = [](const char* s) { return std::string(s ? s : ""); };
  switch (type) {
    case ParamType::boolean:
      return v.i != 0;
    case ParamType::integer:
      return v.i;
    case ParamType::real:
      return v.f;
    case ParamType::reals:
      return v.n ? std::vector<double>(v.fv, v.fv + v.n) : std::vector<double>();
    case ParamType::integers:
      return v.n ? std::vector<int64_t>(v.iv, v.iv + v.n) : std::vector<int64_t>();
    case ParamType::image:
      return ImageSetting{};
    case ParamType::string:
    case ParamType::choice:
    case ParamType::file:
      break;
  }
  return text(v.s);
}

Param param_of(const sdp_param& raw) {
  Param param;
  param.key = raw.key;
  param.doc = raw.doc ? raw.doc : "";
  param.unit = raw.unit ? raw.unit : "";
  param.type = static_cast<ParamType>(raw.type);
  param.min = raw.min;
  param.max = raw.max;
  param.exclusive_min = raw.flags & SDP_PF_EXCLUSIVE_MIN;
  param.exclusive_max = raw.flags & SDP_PF_EXCLUSIVE_MAX;
  for (uint32_t i = 0; i < raw.n_choices; ++i) param.choices.push_back(raw.choices[i]);
  if (!(raw.flags & SDP_PF_REQUIRED)) param.def = default_of(param.type, *raw.def);
  return param;
}

bool is_key(std::string_view key) {
  const auto letter = [](char c) { return c >= 'a' && c <= 'z'; };
  const auto rest = [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '_'; };
  return !key.empty() && letter(key[0]) && std::all_of(key.begin(), key.end(), rest);
}

bool default_is_allowed(const Param& param) {
  const auto allowed = [&](double value) { return std::isfinite(value) && param.contains(value); };
  const auto all_allowed = [&](const auto& list) {
    return std::all_of(list.begin(), list.end(), [&](auto v) { return allowed(static_cast<double>(v)); });
  };
  switch (param.type) {
    case ParamType::integer:
      return allowed(static_cast<double>(std::get<int64_t>(*param.def)));
    case ParamType::real:
      return allowed(std::get<double>(*param.def));
    case ParamType::reals:
      return all_allowed(std::get<std::vector<double>>(*param.def));
    case ParamType::integers:
      return all_allowed(std::get<std::vector<int64_t>>(*param.def));
    case ParamType::choice:
      return std::count(param.choices.begin(), param.choices.end(), std::get<std::string>(*param.def)) == 1;
    default:
      return true;
  }
}

// What makes a parameter unreadable, so that nothing else can be said about it.
std::string shape_error(const sdp_param* raw, uint32_t index) {
  const auto nth = [&](std::string_view text) { return fmt::format("parameter {} {}", index, text); };
  if (!raw) return nth("is NULL");
  if (raw->struct_size < kParamSize) {
    return nth(fmt::format("has struct_size {}, but version 1.0 has {}", raw->struct_size, kParamSize));
  }
  if (!raw->key) return nth("has no key");
  const auto named = [&](std::string_view text) { return fmt::format("parameter \"{}\" {}", raw->key, text); };
  if (raw->type < SDP_P_BOOL || raw->type > SDP_P_FILE) return named(fmt::format("has the unknown type {}", raw->type));
  if (raw->n_choices && (!raw->choices || std::count(raw->choices, raw->choices + raw->n_choices, nullptr))) {
    return named("has a NULL choice");
  }
  if (raw->flags & SDP_PF_REQUIRED) return "";
  if (!raw->def) return named("has no default and is not marked as required");
  if (raw->def->struct_size < kValueSize) return named("has a default of an unknown, smaller struct");
  if (raw->def->type != raw->type) return named("has a default of another type");
  const bool listless = (raw->type == SDP_P_FLOATS && !raw->def->fv) || (raw->type == SDP_P_INTS && !raw->def->iv);
  if (raw->def->n && listless) return named("has a default list that is NULL");
  return "";
}

void add_meaning_errors(const Param& param, std::vector<std::string>& errors) {
  const auto add = [&](std::string_view text) {
    errors.push_back(fmt::format("parameter \"{}\" {}", param.key, text));
  };
  if (!is_key(param.key)) add("must match [a-z][a-z0-9_]*");
  if (is_reserved_key(param.key)) add("has a reserved name: type, from and to belong to the pipeline file");
  if (param.type == ParamType::choice && param.choices.empty()) add("is a choice without choices");
  if (param.type == ParamType::image && !param.required()) add("is an image and must be required");
  if (param.type == ParamType::file && !param.required()) add("is a file and must be required");
  if (!(param.min <= param.max))
    add(fmt::format("has an empty range, {}", param.range()));
  else if (!param.required() && !default_is_allowed(param)) {
    const std::string rule = param.type == ParamType::choice ? "one of " + param.choice_list(", ") : param.range();
    add(fmt::format("has the default {}, which is not {}", toml_text(*param.def), rule.empty() ? "finite" : rule));
  }
}

}  // namespace

bool is_reserved_key(std::string_view key) { return key == "type" || key == "from" || key == "to"; }

std::string toml_text(const Setting& setting) {
  struct {
    std::string operator()(bool value) const { return value ? "true" : "false"; }
    std::string operator()(int64_t value) const { return std::to_string(value); }
    std::string operator()(double value) const { return float_text(value); }
    std::string operator()(const std::string& value) const { return string_text(value); }
    std::string operator()(const std::vector<double>& value) const { return list_text(value, float_text); }
    std::string operator()(const std::vector<int64_t>& value) const {
      return list_text(value, [](int64_t element) { return std::to_string(element); });
    }
    std::string operator()(const ImageSetting& value) const { return string_text(value.path); }
  } text;
  return std::visit(text, setting);
}

bool Param::contains(double value) const {
  const bool above = exclusive_min ? value > min : value >= min;
  const bool below = exclusive_max ? value < max : value <= max;
  return above && below;
}

std::string Param::choice_list(std::string_view separator) const {
  std::vector<std::string> quoted;
  for (const std::string& choice : choices) quoted.push_back('"' + choice + '"');
  return join(quoted, separator);
}

std::string Param::range() const {
  std::vector<std::string> parts;
  if (!std::isinf(min)) parts.push_back((exclusive_min ? "> " : ">= ") + fmt::format("{}", min));
  if (!std::isinf(max)) parts.push_back((exclusive_max ? "< " : "<= ") + fmt::format("{}", max));
  return join(parts, " and ");
}

std::string Param::describe() const {
  std::string head(type_text(type));
  if (type == ParamType::choice) head = choice_list(" | ");
  const std::string bounds = range();
  if (!bounds.empty()) head += " " + bounds;
  std::vector<std::string> parts = {head};
  if (!unit.empty()) parts.push_back(unit);
  parts.push_back(required() ? "required" : "default " + toml_text(*def));
  return join(parts);
}

Schema schema_of(const sdp_descriptor& plugin) {
  Schema schema;
  for (uint32_t i = 0; i < plugin.n_params; ++i) schema.push_back(param_of(*plugin.params[i]));
  return schema;
}

std::vector<std::string> schema_errors(const sdp_descriptor& plugin) {
  if (plugin.n_params && !plugin.params) return {"the list of parameters is NULL"};
  std::vector<std::string> errors;
  std::set<std::string> seen;
  for (uint32_t i = 0; i < plugin.n_params; ++i) {
    const std::string error = shape_error(plugin.params[i], i);
    if (!error.empty()) {
      errors.push_back(error);
      continue;
    }
    const Param param = param_of(*plugin.params[i]);
    if (!seen.insert(param.key).second) errors.push_back(fmt::format("parameter \"{}\" is there twice", param.key));
    add_meaning_errors(param, errors);
  }
  return errors;
}

}  // namespace sdpipe
