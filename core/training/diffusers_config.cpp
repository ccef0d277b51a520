#include "core/training/diffusers_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/base/error.hpp"
#include "core/base/json.hpp"
#include "core/base/text.hpp"

namespace sdpipe {
namespace {

constexpr const char* network = "UNet2DModel";

// Its arguments with their defaults there, as JSON.
struct Argument {
  const char* key;
  const char* otherwise;
};
constexpr Argument arguments[] = {
    {"act_fn", "\"silu\""},
    {"add_attention", "true"},
    {"attention_head_dim", "8"},
    {"attn_norm_num_groups", "null"},
    {"block_out_channels", "[224, 448, 672, 896]"},
    {"center_input_sample", "false"},
    {"class_embed_type", "null"},
    {"down_block_types", R"(["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"])"},
    {"downsample_padding", "1"},
    {"downsample_type", "\"conv\""},
    {"dropout", "0.0"},
    {"flip_sin_to_cos", "true"},
    {"freq_shift", "0"},
    {"layers_per_block", "2"},
    {"mid_block_scale_factor", "1"},
    {"mid_block_type", "\"UNetMidBlock2D\""},
    {"norm_eps", "1e-05"},
    {"norm_num_groups", "32"},
    {"num_class_embeds", "null"},
    {"num_train_timesteps", "null"},
    {"resnet_time_scale_shift", "\"default\""},
    {"time_embedding_dim", "null"},
    {"time_embedding_type", "\"positional\""},
    {"up_block_types", R"(["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"])"},
    {"upsample_type", "\"conv\""},
};

const Argument* argument(const std::string& key) {
  const auto it = std::find_if(std::begin(arguments), std::end(arguments), [&](const auto& a) { return a.key == key; });
  return it == std::end(arguments) ? nullptr : it;
}

bool is_of_data(const std::string& key) {
  return key == "sample_size" || key == "in_channels" || key == "out_channels";
}

Json parsed(const std::string& config) {
  Json json = Json::parse(config, nullptr, false);
  if (!json.is_object()) throw CheckpointError("config.json is not a JSON object");
  return json;
}

[[noreturn]] void refuse(const std::string& file, const std::string& key, const std::string& why) {
  throw CheckpointError(fmt::format("{}: \"{}\" must {}", file, key, why));
}

// Empty where the key is not there.
std::string word(const Json& json, const std::string& file, const std::string& key) {
  const auto it = json.find(key);
  if (it == json.end()) return "";
  if (!it->is_string()) refuse(file, key, fmt::format("be a string, not {}", it->type_name()));
  return it->get<std::string>();
}

std::vector<std::string> words_in(const Json& list, const std::string& key) {
  std::vector<std::string> words;
  for (const Json& item : list) {
    if (!item.is_string()) refuse("config.json", key, fmt::format("hold strings alone, not {}", item.type_name()));
    words.push_back(item.get<std::string>());
  }
  return words;
}

// Old files say UNetResDownBlock2D for DownBlock2D.
std::string plain_type(const std::string& name) { return name.starts_with("UNetRes") ? name.substr(7) : name; }

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  for (size_t begin = 0; (begin = text.find_first_not_of(", ", begin)) != std::string::npos;) {
    const size_t end = std::min(text.find_first_of(", ", begin), text.size());
    words.push_back(plain_type(text.substr(begin, end - begin)));
    begin = end;
  }
  return words;
}

bool has_words(const std::string& key) {
  const Argument* a = argument(key);
  return a && std::string_view(a->otherwise).starts_with("[\"");
}

// null stands for what is not used; the setting then holds 0, "" or "none".
bool may_be_null(const std::string& key) {
  const Argument* a = argument(key);
  return key == "attention_head_dim" || key == "mid_block_type" || key == "norm_num_groups" ||
         (a && std::string_view(a->otherwise) == "null");
}

Json json_of(const std::string& key, const Setting& setting) {
  struct {
    const std::string& key;
    Json operator()(bool v) const { return v; }
    Json operator()(int64_t v) const { return v == 0 && may_be_null(key) ? Json() : Json(v); }
    Json operator()(double v) const { return v; }
    Json operator()(const std::string& v) const {
      if (has_words(key)) return words_of(v);
      return may_be_null(key) && (v.empty() || v == "none") ? Json() : Json(v);
    }
    Json operator()(const std::vector<double>& v) const { return v; }
    Json operator()(const std::vector<int64_t>& v) const { return v; }
    Json operator()(const ImageSetting& v) const { return v.path; }
  } visitor{key};
  return std::visit(visitor, setting);
}

// Numbers by value: 1 is 1.0, and 1e-05 is what a float nearest to it prints.
bool same(const Json& a, const Json& b) {
  if (!a.is_number() || !b.is_number()) return a == b;
  const double x = a.get<double>(), y = b.get<double>();
  return std::abs(x - y) <= 1e-9 * std::max(std::abs(x), std::abs(y));
}

std::string toml_of(const Json& value, const Param& param) {
  if (value.is_null()) {
    const bool none = std::find(param.choices.begin(), param.choices.end(), "none") != param.choices.end();
    return param.type == ParamType::integer || param.type == ParamType::real ? "0" : none ? "\"none\"" : "\"\"";
  }
  if (value.is_array() && (param.type == ParamType::string || param.type == ParamType::choice))
    return toml_text(join(words_in(value, param.key), ", "));
  return value.dump();
}

std::vector<std::string> plain_types(const Json& list, const std::string& key) {
  std::vector<std::string> types = words_in(list, key);
  for (std::string& type : types) type = plain_type(type);
  return types;
}

// `where` it is said: "in config.json".
void compare(const std::string& key, const Json& said, const std::string& where, const Settings& settings,
             std::vector<std::string>& found) {
  const Json value = has_words(key) && said.is_array() ? Json(plain_types(said, key)) : said;
  if (const Settings::Entry* entry = settings.find(key)) {
    const Json own = json_of(key, entry->value);
    if (!same(own, value))
      found.push_back(fmt::format("{}: {} {}, {} in [model]", key, value.dump(), where, own.dump()));
    return;
  }
  const Argument* a = argument(key);
  if (a && same(Json::parse(a->otherwise), value)) return;
  found.push_back(fmt::format("{}: {} {}, which this model does not offer", key, value.dump(), where));
}

// Twice the channels where the network learned the variance too.
int64_t output_channels(const Settings& settings, int64_t channels) {
  const Settings::Entry* entry = settings.find("learn_sigma");
  return entry && std::get<bool>(entry->value) ? 2 * channels : channels;
}

// What config.json does not say in a key of [model]'s own.
std::string implied_lines(const Json& json) {
  const auto said = [&](const char* key) { return json.value(key, Json()); };
  const Json in = said("in_channels"), out = said("out_channels"), times = said("num_train_timesteps");
  std::string text;
  if (in.is_number_integer() && out.is_number_integer() && out == 2 * in.get<int64_t>()) text += "learn_sigma = true\n";
  if (said("time_embedding_type") == "fourier") text += "condition = \"sigma\"\n";
  if (said("time_embedding_type") == "learned" && times.is_number_integer())
    text += fmt::format("condition_scale = {}\n", times.get<int64_t>() - 1);
  return text;
}

bool is_compared(const std::string& key) { return !key.starts_with("_") && key != "sample_size" && key != "dropout"; }

}  // namespace

std::string model_table(const std::string& config, const std::string& type, const Schema& schema) {
  const Json json = parsed(config);
  std::string text = fmt::format("[model]\ntype = {}\n", toml_text(type));
  for (const Param& param : schema) {
    const auto it = json.find(param.key);
    if (it != json.end() && !is_of_data(param.key)) text += fmt::format("{} = {}\n", param.key, toml_of(*it, param));
  }
  return text + implied_lines(json);
}

std::vector<std::string> config_differences(const std::string& config, const Settings& settings,
                                            const SampleShape& shape) {
  std::vector<std::string> found;
  const Json json = parsed(config);
  if (const std::string name = word(json, "config.json", "_class_name"); !name.empty() && name != network)
    found.push_back(fmt::format("_class_name: {} in config.json, and {} alone is known here", name, network));
  for (const auto& item : json.items()) {
    const std::string& key = item.key();
    if (key == "in_channels" || key == "out_channels") {
      const int64_t own = key == "in_channels" ? shape[0] : output_channels(settings, shape[0]);
      if (item.value() != Json(own))
        found.push_back(fmt::format("{}: {} in config.json, {} by data and [model]", key, item.value().dump(), own));
    } else if (is_compared(key)) {
      compare(key, item.value(), "in config.json", settings, found);
    }
  }
  for (const Argument& a : arguments) {
    if (is_compared(a.key) && !json.contains(a.key))
      compare(a.key, Json::parse(a.otherwise), "by diffusers' default", settings, found);
  }
  return found;
}

std::string meaning_lines(const std::string& scheduler) {
  const Json json = Json::parse(scheduler, nullptr, false);
  const std::string said = json.is_object() ? word(json, "scheduler_config.json", "prediction_type") : "";
  if (said == "epsilon" || said == "sample") {
    const bool linear = json.value("beta_schedule", Json()) == "linear";
    return fmt::format(
        "output = \"{}\"  # scheduler_config.json: prediction_type = \"{}\"\nprocess = \"vp\"{}\n",
        said == "sample" ? "clean" : said, said,
        linear ? "  # beta_schedule = \"linear\": [schedule] type = \"vp\", path = \"linear_beta\"" : "");
  }
  if (!said.empty())
    return fmt::format("# scheduler_config.json: prediction_type = {}, which is not offered\n", toml_text(said));
  return "# config.json does not say what the output means; of most published networks:\n"
         "# output = \"epsilon\"\n# process = \"vp\"\n";
}

std::string diffusers_config(const Settings& settings, const SampleShape& shape) {
  Json json = {{"_class_name", network}};
  for (const Argument& a : arguments) {
    const Settings::Entry* entry = settings.find(a.key);
    json[a.key] = entry ? json_of(a.key, entry->value) : Json::parse(a.otherwise);
  }
  json["in_channels"] = shape[0];
  json["out_channels"] = output_channels(settings, shape[0]);
  json["sample_size"] = shape[1] == shape[2] ? Json(shape[1]) : Json({shape[1], shape[2]});
  return json.dump(2) + "\n";
}

}  // namespace sdpipe
