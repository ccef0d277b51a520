// Settings of a plugin for tests and docs.
#pragma once

#include "core/host/library.hpp"

namespace sdpipe {

// The descriptor's `example`, a TOML table body, over the defaults; the defaults alone where it has none. Throws
// PluginError with every problem where the example does not fit the schema. An image parameter gets a small grey
// picture in place of the file that it names, which is not there; a file parameter an empty path.
Settings example_settings(const Plugin& plugin);

}  // namespace sdpipe
