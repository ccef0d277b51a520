// [data] of a pipeline file: which images, and how they are prepared.
#pragma once

#include <optional>
#include <vector>

#include "core/config/pipeline.hpp"

namespace sdpipe {

struct DataTable {
  Settings settings;
  std::optional<Crop> crop;
};

// Checks the table, with the keys that only some types of data have. What is wrong is added to `problems`.
DataTable check_data_table(const Table& table, std::vector<Problem>& problems);

}  // namespace sdpipe
