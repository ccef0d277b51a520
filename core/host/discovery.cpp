#include "core/host/discovery.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "core/base/error.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view suffix = ".sdp.so";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::vector<fs::path> split_path(const std::string& text) {
  std::vector<fs::path> folders;
  for (size_t from = 0; from <= text.size();) {
    const size_t to = std::min(text.find(':', from), text.size());
    // An empty or relative entry would mean the current directory, from which nothing is ever loaded.
    if (const fs::path folder = text.substr(from, to - from); folder.is_absolute()) folders.push_back(folder);
    from = to + 1;
  }
  return folders;
}

// A folder that is not there holds no plugins; one that cannot be read throws std::filesystem::filesystem_error.
std::vector<fs::path> plugin_files(const fs::path& folder) {
  std::vector<fs::path> files;
  if (!fs::exists(folder)) return files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().string().ends_with(suffix)) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

std::vector<fs::path> default_plugin_folders() {
  std::vector<fs::path> folders = split_path(environment("SDPIPE_PLUGIN_PATH"));
  // The XDG specification has relative paths ignored.
  const fs::path data_home = environment("XDG_DATA_HOME"), home = environment("HOME");
  if (data_home.is_absolute())
    folders.push_back(data_home / "sdpipe/plugins");
  else if (home.is_absolute())
    folders.push_back(home / ".local/share/sdpipe/plugins");
  const fs::path program = fs::read_symlink("/proc/self/exe").parent_path();
  // Installed: <prefix>/bin/sdpipe. In a build tree the program stands beside plugins/.
  for (const fs::path& folder : {program / "../lib/sdpipe/plugins", program / "plugins"}) {
    if (fs::is_directory(folder)) folders.push_back(fs::canonical(folder));
  }
  return folders;
}

Registry::Registry(const PluginSearch& search) {
  for (const fs::path& file : search.files) add(file);
  for (const fs::path& folder : search.folders) add_folder(folder);
}

void Registry::add_folder(const fs::path& folder) {
  try {
    for (const fs::path& file : plugin_files(folder)) try_add(file);
  } catch (const fs::filesystem_error& e) {
    warnings_.push_back(fmt::format("plugin folder {}: {}", folder.string(), e.code().message()));
  }
}

void Registry::try_add(const fs::path& file) {
  try {
    add(file);
  } catch (const PluginError& e) {
    warnings_.push_back(e.what());
  }
}

void Registry::add(const fs::path& file) {
  for (Plugin& plugin : load_library(file)) {
    if (const Plugin* winner = find(plugin.kind(), plugin.id())) {
      if (winner->descriptor == plugin.descriptor) continue;  // the same file, found twice
      warnings_.push_back(
          fmt::format("plugin {}: its {} \"{}\" is passed over, {} has one of that name and comes first", file.string(),
                      kind_name(plugin.kind()), plugin.id(), winner->file.string()));
      continue;
    }
    plugins_.push_back(std::move(plugin));
  }
}

const Plugin* Registry::find(int32_t kind, std::string_view id) const {
  const auto it =
      std::find_if(plugins_.begin(), plugins_.end(), [&](const Plugin& p) { return p.kind() == kind && p.id() == id; });
  return it == plugins_.end() ? nullptr : &*it;
}

std::vector<std::string> Registry::ids(int32_t kind) const {
  std::vector<std::string> ids;
  for (const Plugin& p : plugins_) {
    if (p.kind() == kind) ids.push_back(p.id());
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

}  // namespace sdpipe
