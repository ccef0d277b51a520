// docs/pipelines.md names every key of the host's tables with its default.
#include <fmt/format.h>

#include <set>

#include "core/base/files.hpp"
#include "core/config/tables.hpp"
#include "tests/catch.h"
#include "tests/config/examples.hpp"

using namespace sdpipe;

namespace {

// The part of the manual under `## [name]`.
std::string section(const std::string& manual, const std::string& name) {
  const size_t begin = manual.find("\n## [" + name + "]\n");
  REQUIRE(begin != std::string::npos);
  return manual.substr(begin, manual.find("\n## ", begin + 1) - begin);
}

}  // namespace

TEST_CASE("The manual lists every key of the host's tables with its default") {
  const std::string manual = read_file(std::string(SDPIPE_SOURCE_DIR) + "/docs/pipelines.md");
  const std::set<std::string> depends_on_others = {"run.name", "train.checkpoint_every_images", "sample.seed"};
  const std::pair<const char*, const Schema*> tables[] = {
      {"run", &run_schema()}, {"data", &data_schema()}, {"train", &train_schema()}, {"sample", &sample_schema()}};
  for (const auto& [name, schema] : tables) {
    const std::string text = section(manual, name);
    for (const Param& param : *schema) {
      std::string row = fmt::format("\n| `{}` | ", param.key);
      const std::string value = param.required() ? "required" : fmt::format("`{}`", toml_text(*param.def));
      if (!depends_on_others.count(fmt::format("{}.{}", name, param.key))) row += fmt::format("{} |", value);
      INFO(row);
      CHECK(text.find(row) != std::string::npos);
    }
  }
}

TEST_CASE("The manual's pipeline has no key that the host does not know") {
  const std::string manual = read_file(std::string(SDPIPE_SOURCE_DIR) + "/docs/pipelines.md");
  const size_t begin = manual.find("```toml\n") + 8;
  std::string text = manual.substr(begin, manual.find("```", begin) - begin);
  for (const auto& [real, example] : {std::pair{"heat_blur", "blur"},
                                      {"wasserstein", "levels"},
                                      {"geometric", "sigmas"},
                                      {"unet", "net"},
                                      {"momentum", "step"}}) {
    text = edited(text, real, example);
  }
  CHECK(errors_of(text) == "");
}
