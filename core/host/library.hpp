// One plugin file: opened once, checked, never unloaded. The only user of Boost.DLL.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/abi/plugin.h"
#include "core/host/schema.hpp"

namespace sdpipe {

// One descriptor of a library.
struct Plugin {
  const sdp_descriptor* descriptor = nullptr;  // static in the library
  std::filesystem::path file;
  std::string license;
  Schema schema;

  std::string id() const { return descriptor->id; }
  int32_t kind() const { return descriptor->kind; }
  bool has(uint32_t capability) const { return (descriptor->caps & capability) != 0; }
};

// "corruption", "schedule", "model", "sampler".
std::string_view kind_name(int32_t kind);

// Opens `file`, calls its entry point and checks what it offers: ABI version, struct sizes, schemas, fingerprint.
// Throws PluginError with one sentence per cause, naming file, found, expected, remedy.
std::vector<Plugin> load_library(const std::filesystem::path& file);

}  // namespace sdpipe
