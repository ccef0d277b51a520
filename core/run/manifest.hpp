// manifest.json of a run: versions, plugins, data and the command line that it was begun with.
#pragma once

#include "core/base/json.hpp"
#include "core/run/opened_data.hpp"
#include "core/run/workspace.hpp"

namespace sdpipe {

Json manifest_of(const Workspace& workspace, const Pipeline& pipeline, const OpenedData& data);

// Throws DataError where the run in `folder`, which may not be there yet, was begun with other data.
void require_same_data(const std::filesystem::path& folder, const OpenedData& data);

// Another build of sdpipe or of a plugin may change bits of a run that goes on. Logs a warning for each plugin and
// version in `now` that differs from the manifest in `folder`.
void warn_of_other_builds(const std::filesystem::path& folder, const Json& now);

}  // namespace sdpipe
