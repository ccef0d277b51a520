#include "core/config/example.hpp"

#include <fmt/format.h>

#include <utility>

#include "core/base/error.hpp"
#include "core/config/document.hpp"

namespace sdpipe {
namespace {

// 5 x 7 pixels, all different and without symmetry; black and white are among them.
ImageSetting stand_in(std::string path) {
  ImageSetting image{std::move(path), {1, 5, 7}, {}};
  for (int i = 0; i < 35; ++i) image.pixels.push_back(static_cast<float>(i * 12 % 35) / 34);
  return image;
}

}  // namespace

Settings example_settings(const Plugin& plugin) {
  std::vector<Problem> problems;
  const char* example = plugin.descriptor->example ? plugin.descriptor->example : "";
  const Document document = parse_document(example, fmt::format("<example of {}>", plugin.id()), problems);
  Settings settings = check_table(plugin.schema, document.root, fmt::format("table \"{}\"", plugin.id()), {}, problems);
  for (Settings::Entry& entry : settings.entries()) {
    if (auto* image = std::get_if<ImageSetting>(&entry.value)) *image = stand_in(image->path);
  }
  for (const Param& param : plugin.schema) {
    Settings::Entry* entry = param.type == ParamType::file ? settings.find(param.key) : nullptr;
    if (entry) entry->value = std::string();
  }
  if (problems.empty()) return settings;
  std::string text = fmt::format("the example of plugin \"{}\" does not fit its schema", plugin.id());
  for (const Problem& p : problems) text += fmt::format("\n{}", p.render());
  throw PluginError(text);
}

}  // namespace sdpipe
