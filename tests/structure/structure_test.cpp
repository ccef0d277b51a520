// The rules of docs/plugins.md and of the folder layout that a compiler does not check.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

#include "tests/catch.h"

namespace fs = std::filesystem;

namespace {

const fs::path root = SDPIPE_SOURCE_DIR;

bool is_source(const fs::path& file) {
  const std::string ending = file.extension().string();
  return ending == ".cpp" || ending == ".hpp" || ending == ".h" || ending == ".cu";
}

std::vector<fs::path> sources(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
    if (entry.is_regular_file() && is_source(entry.path())) files.push_back(fs::relative(entry.path(), root));
  }
  std::sort(files.begin(), files.end());
  return files;
}

struct Line {
  std::string text;
  int number;
};

std::vector<Line> lines(const fs::path& file) {
  std::vector<Line> all;
  std::ifstream in(root / file);
  for (std::string text; std::getline(in, text);) all.push_back({text, static_cast<int>(all.size()) + 1});
  return all;
}

// What the file includes, between quotes or angle brackets.
std::vector<std::string> includes(const fs::path& file) {
  static const std::regex include("^\\s*#\\s*include\\s*[<\"]([^>\"]+)[>\"]");
  std::vector<std::string> names;
  for (const Line& line : lines(file)) {
    if (std::smatch match; std::regex_search(line.text, match, include)) names.push_back(match[1]);
  }
  return names;
}

// "core/host/conformance/model.cpp" -> "host"
std::string core_folder(const fs::path& path) {
  auto part = path.begin();
  return part != path.end() && *part == "core" && ++part != path.end() ? part->string() : "";
}

}  // namespace

TEST_CASE("Data goes one way: a folder of core includes its own files and those of the folders before it") {
  const std::vector<std::string> order = {"abi",      "base",       "host",   "config", "data", "diffusion",
                                          "training", "evaluation", "report", "run",    "cli"};
  const auto place = [&](const std::string& folder) {
    return std::find(order.begin(), order.end(), folder) - order.begin();
  };
  std::vector<std::string> wrong;
  for (const fs::path& file : sources("core")) {
    REQUIRE(place(core_folder(file)) < static_cast<std::ptrdiff_t>(order.size()));
    for (const std::string& name : includes(file)) {
      const std::string other = core_folder(name);
      if (!other.empty() && place(other) > place(core_folder(file)))
        wrong.push_back(file.string() + " includes " + name);
    }
  }
  CHECK(wrong == std::vector<std::string>{});
}

TEST_CASE("Plugins include nothing of core but core/abi") {
  std::vector<std::string> wrong;
  for (const fs::path& file : sources("plugins")) {
    for (const std::string& name : includes(file)) {
      const std::string folder = core_folder(name);
      if (!folder.empty() && folder != "abi") wrong.push_back(file.string() + " includes " + name);
    }
  }
  CHECK(wrong == std::vector<std::string>{});
}

TEST_CASE("Core never compares a plugin's id with a literal") {
  std::vector<std::string> ids;
  for (const fs::path& file : sources("plugins")) {
    if (file.extension() == ".cpp") ids.push_back(file.stem().string());
  }
  REQUIRE(ids.size() >= 15);
  std::vector<std::string> wrong;
  // Words of the host's own tables that are also a plugin's id mean the table's word there.
  const std::vector<std::string> also_words = {"constant", "cosine", "empirical", "gaussian", "linear", "log"};
  for (const fs::path& file : sources("core")) {
    for (const Line& line : lines(file)) {
      if (line.text.find("//") == 0) continue;
      for (const std::string& id : ids) {
        const bool a_word = std::find(also_words.begin(), also_words.end(), id) != also_words.end();
        if (!a_word && line.text.find("== \"" + id + "\"") != std::string::npos)
          wrong.push_back(file.string() + ":" + std::to_string(line.number));
      }
      if (std::regex_search(line.text, std::regex("\\bid(\\(\\))?\\s*[!=]=\\s*\"")))
        wrong.push_back(file.string() + ":" + std::to_string(line.number));
    }
  }
  CHECK(wrong == std::vector<std::string>{});
}

TEST_CASE("Every third-party library has one door") {
  struct Door {
    std::string prefix, file;
  };
  const std::vector<Door> doors = {
      {"toml++/", "core/config/document.cpp"},
      {"boost/dll/", "core/host/library.cpp"},
      {"boost/math/", "core/evaluation/statistics.cpp"},
      {"OpenImageIO/", "core/data/images.cpp"},
      {"ft2build.h", "core/data/emoji.cpp"},
      {"zlib.h", "core/data/idx.cpp"},
      {"openssl/", "core/base/hash.cpp"},
      {"xxhash.h", "core/base/hash.cpp"},
      {"CLI/", "core/cli/main.cpp"},
      {"nlohmann/", "core/base/json.hpp"},
      {"lemon/", "plugins/schedules/wasserstein/assignment.cpp"},
  };
  std::vector<std::string> wrong;
  for (const char* folder : {"core", "plugins"}) {
    for (const fs::path& file : sources(folder)) {
      for (const std::string& name : includes(file)) {
        for (const Door& door : doors) {
          if (name.starts_with(door.prefix) && file != door.file) wrong.push_back(file.string() + " includes " + name);
        }
      }
    }
  }
  CHECK(wrong == std::vector<std::string>{});
}

TEST_CASE("Core uses neither torch::nn nor autograd, but for the network that the scores train") {
  const fs::path trains = "core/evaluation/features.cpp";
  REQUIRE(fs::exists(root / trains));
  std::vector<std::string> wrong;
  for (const fs::path& file : sources("core")) {
    if (core_folder(file) == "abi") continue;  // the adapter for authors of networks
    if (file == trains) continue;
    for (const std::string& name : includes(file)) {
      const bool heavy = name.starts_with("torch/nn") || name.starts_with("torch/optim") ||
                         name.starts_with("torch/csrc/autograd") || name == "torch/torch.h";
      if (heavy) wrong.push_back(file.string() + " includes " + name);
    }
  }
  CHECK(wrong == std::vector<std::string>{});
}

TEST_CASE("The README names every built-in plugin and every pipeline") {
  std::string readme;
  for (const Line& line : lines("README.md")) readme += line.text + "\n";
  std::vector<std::string> missing;
  static const std::regex plugin("^sdpipe_plugin\\((\\w+)");
  for (const Line& line : lines("plugins/CMakeLists.txt")) {
    std::smatch match;
    if (std::regex_search(line.text, match, plugin) &&
        readme.find(std::string("`").append(match[1]).append("`")) == std::string::npos)
      missing.push_back(match[1]);
  }
  for (const auto& entry : fs::directory_iterator(root / "pipelines")) {
    const std::string name = entry.path().filename().string();
    if (readme.find(name) == std::string::npos) missing.push_back(name);
  }
  CHECK(missing == std::vector<std::string>{});
}
