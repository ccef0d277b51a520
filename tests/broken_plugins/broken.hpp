// Where the build puts the plugins of this folder.
#pragma once

#include <filesystem>
#include <string>

namespace sdpipe::testing {

inline std::filesystem::path broken_plugin(const std::string& name) {
  return std::filesystem::path(SDPIPE_BUILD_DIR) / "tests/broken_plugins" / (name + ".sdp.so");
}

}  // namespace sdpipe::testing
