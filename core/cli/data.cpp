#include <fmt/format.h>

#include "core/cli/verbs.hpp"
#include "core/data/emoji.hpp"
#include "core/diffusion/assembly.hpp"

namespace sdpipe {

int data_emoji(Workspace&, const std::filesystem::path& folder, const std::filesystem::path& font) {
  const int count = write_emoji(font, folder);
  fmt::print("{} images in {}\n", count, folder.string());
  return 0;
}

int data_info(Workspace& workspace, const std::filesystem::path& file, const std::vector<std::string>& overrides) {
  const auto source = open_source(data_options(workspace.load(file, overrides)));
  fmt::print("{}\n{} images, {} (channels x height x width)\nsha256 {}\n", source->describe(), source->size(),
             to_text(source->shape()), source->content_hash());
  return 0;
}

}  // namespace sdpipe
