#include "core/run/manifest.hpp"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>

#include "core/base/files.hpp"
#include "core/base/log.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/host/gpu.hpp"

namespace sdpipe {

namespace fs = std::filesystem;

namespace {

Json plugin_facts(const PluginChoice& choice) {
  const Plugin& p = *choice.plugin;
  return {{"id", p.id()},
          {"kind", kind_name(p.kind())},
          {"version", p.descriptor->version},
          {"file", p.file.string()},
          {"sha256", sha256_of_file(p.file)}};
}

// As a string: whether a Json compares with one depends on the library's version.
std::string text_of(const Json& object, const char* key) { return object.value(key, ""); }

// What the run in `folder` was begun with; empty where there is none yet.
Json manifest_before(const fs::path& folder) {
  const fs::path file = folder / "manifest.json";
  if (!fs::exists(file) || !fs::exists(folder / "checkpoints")) return Json::object();
  const Json before = Json::parse(read_file(file), nullptr, false);
  return before.is_object() ? before : Json::object();
}

}  // namespace

Json manifest_of(const Workspace& workspace, const Pipeline& pipeline, const OpenedData& data) {
  Json plugins = Json::array();
  for (const PluginChoice& choice : pipeline.corruption) plugins.push_back(plugin_facts(choice));
  plugins.push_back(plugin_facts(pipeline.schedule));
  if (pipeline.noise) plugins.push_back(plugin_facts(*pipeline.noise));
  plugins.push_back(plugin_facts(pipeline.model));
  plugins.push_back(plugin_facts(pipeline.sampler));
  return {{"sdpipe", SDPIPE_VERSION},
          {"command_line", workspace.command_line()},
          {"seed", pipeline.run.integer("seed")},
          {"threads", at::get_num_threads()},
          {"device", describe(device_of(pipeline))},
          {"deterministic", pipeline.run.flag("deterministic")},
          {"data", data.source->describe()},
          {"data_sha256", data.sha256},
          {"plugins", plugins}};
}

void require_same_data(const fs::path& folder, const OpenedData& data) {
  const Json before = manifest_before(folder);
  if (before.empty() || text_of(before, "data_sha256") == data.sha256) return;
  throw DataError(fmt::format(
      "the data is not what {} began with (then: {}); put it back, or move the run aside with `sdpipe run --fresh`",
      folder.string(), text_of(before, "data")));
}

void warn_of_other_builds(const fs::path& folder, const Json& now) {
  const Json before = manifest_before(folder);
  if (before.empty()) return;
  const Json& old_plugins = before.value("plugins", Json::array());
  for (const Json& plugin : now["plugins"]) {
    const auto same = [&](const Json& p) {
      return text_of(p, "kind") == text_of(plugin, "kind") && text_of(p, "id") == text_of(plugin, "id");
    };
    const auto old = std::find_if(old_plugins.begin(), old_plugins.end(), same);
    if (old == old_plugins.end() || text_of(*old, "sha256") == text_of(plugin, "sha256")) continue;
    log_warning(
        fmt::format("plugin \"{}\" is another build than the one that began {}: the rest of the run is valid, but may "
                    "not be bit for bit the same",
                    text_of(plugin, "id"), folder.string()));
  }
  if (text_of(before, "sdpipe") != text_of(now, "sdpipe"))
    log_warning(fmt::format("{} was begun by sdpipe {}", folder.string(), before.value("sdpipe", "")));
}

}  // namespace sdpipe
