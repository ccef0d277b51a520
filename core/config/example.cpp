#include "core/config/example.hpp"

#include <fmt/format.h>

#include "core/base/error.hpp"
#include "core/config/document.hpp"

namespace sdpipe {

Settings example_settings(const Plugin& plugin) {
  std::vector<Problem> problems;
  const char* example = plugin.descriptor->example ? plugin.descriptor->example : "";
  const Document document = parse_document(example, fmt::format("<example of {}>", plugin.id()), problems);
  Settings settings = check_table(plugin.schema, document.root, fmt::format("table \"{}\"", plugin.id()), {}, problems);
  if (problems.empty()) return settings;
  std::string text = fmt::format("the example of plugin \"{}\" does not fit its schema", plugin.id());
  for (const Problem& p : problems) text += fmt::format("\n{}", p.render());
  throw PluginError(text);
}

}  // namespace sdpipe
