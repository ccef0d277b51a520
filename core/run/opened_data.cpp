#include "core/run/opened_data.hpp"

#include "core/diffusion/assembly.hpp"

namespace sdpipe {

OpenedData open_data(const Pipeline& pipeline) {
  std::shared_ptr<const Source> source = open_source(data_options(pipeline));
  return {source, source->content_hash()};
}

}  // namespace sdpipe
