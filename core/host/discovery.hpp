// Where plugins are looked for, and which one an id means.
//
// Order: `--plugin FILE`; $SDPIPE_PLUGIN_PATH; $XDG_DATA_HOME/sdpipe/plugins; the install's lib/sdpipe/plugins, or in a
// build tree the build's own plugins. Suffix .sdp.so, no recursion, never the current directory, names sorted; the
// first of equal (kind, id) wins and the loser is reported with both paths. Relative folders in the environment are
// ignored.
#pragma once

#include <deque>
#include <filesystem>
#include <string>
#include <vector>

#include "core/host/library.hpp"

namespace sdpipe {

struct PluginSearch {
  std::vector<std::filesystem::path> files;    // named on the command line: an error in one is an error
  std::vector<std::filesystem::path> folders;  // an error in one is a warning
};

// The folders of the order above, from the environment and the running program's place.
std::vector<std::filesystem::path> default_plugin_folders();

class Registry {
 public:
  explicit Registry(const PluginSearch& search);

  // Null where there is none.
  const Plugin* find(int32_t kind, std::string_view id) const;
  const std::deque<Plugin>& plugins() const { return plugins_; }
  std::vector<std::string> ids(int32_t kind) const;
  // What was passed over and why: bad files in searched folders, duplicates.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  void add(const std::filesystem::path& file);
  void try_add(const std::filesystem::path& file);
  void add_folder(const std::filesystem::path& folder);
  std::deque<Plugin> plugins_;  // a deque: pointers stay valid
  std::vector<std::string> warnings_;
};

}  // namespace sdpipe
