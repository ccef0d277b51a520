// The images of [data], which all variants of a run share.
#pragma once

#include "core/config/pipeline.hpp"
#include "core/data/source.hpp"

namespace sdpipe {

struct OpenedData {
  std::shared_ptr<const Source> source;
  std::string sha256;  // of the images
};

OpenedData open_data(const Pipeline& pipeline);

}  // namespace sdpipe
