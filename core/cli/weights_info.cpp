#include <fmt/format.h>

#include "core/base/files.hpp"
#include "core/base/json.hpp"
#include "core/cli/verbs.hpp"
#include "core/report/numbers.hpp"
#include "core/training/diffusers_config.hpp"
#include "core/training/weight_names.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;

// Beside the network in a folder of weights alone, or in the next one of a whole pipeline of diffusers'.
std::string scheduler_of(const fs::path& place) {
  const fs::path folder = fs::is_directory(place) ? place : place.parent_path();
  for (const fs::path& file :
       {folder / "scheduler_config.json", folder / ".." / "scheduler" / "scheduler_config.json"}) {
    if (fs::exists(file)) return read_file(file);
  }
  return "";
}

// A [model] table for these weights, where one can be said: by sdpipe when it exported them, or by config.json.
std::string table_for(Workspace& workspace, const WeightSource& source, const NamingScheme& scheme) {
  if (std::string written = source.exported_table(); !written.empty()) return written;
  if (source.config.empty()) return "";
  const Plugin* plugin = scheme.type.empty() ? nullptr : workspace.registry().find(SDP_KIND_MODEL, scheme.type);
  return plugin ? model_table(source.config, scheme.type, plugin->schema) + meaning_lines(scheduler_of(source.place))
                : "";
}

struct Sums {
  uint64_t numbers = 0, bytes = 0;
};

Sums sums_of(const std::vector<StoredTensor>& tensors) {
  Sums sums;
  for (const StoredTensor& t : tensors) {
    sums.numbers += t.bytes.size() / dtype_bytes(t.dtype);
    sums.bytes += t.bytes.size();
  }
  return sums;
}

void print_json(const WeightSource& source, const NamingScheme& scheme, const std::string& table) {
  Json tensors = Json::array();
  for (const StoredTensor& t : source.tensors)
    tensors.push_back({{"name", t.name}, {"dtype", t.dtype}, {"shape", t.shape}});
  const Sums sums = sums_of(source.tensors);
  Json json = {{"place", source.place.string()}, {"what", source.describe()}, {"names_of", scheme.source},
               {"numbers", sums.numbers},        {"bytes", sums.bytes},       {"metadata", source.metadata}};
  if (!source.state.empty()) json["state"] = Json::parse(source.state);
  if (!table.empty()) json["model"] = table;
  json["tensors"] = tensors;
  fmt::print("{}\n", json.dump(1));
}

void print_checkpoint(const WeightSource& source) {
  const Json state = Json::parse(source.state);
  fmt::print("trained    {} images in {} steps\n", grouped(state.value("images", uint64_t{0})),
             grouped(state.value("step", uint64_t{0})));
  const fs::path origin = source.run / "weights.json";
  if (!fs::exists(origin)) return;
  const Json from = Json::parse(read_file(origin), nullptr, false);
  if (from.is_object()) fmt::print("begun with {}\n", from.value("place", "weights from elsewhere"));
}

void print_text(const WeightSource& source, const NamingScheme& scheme, const std::string& table) {
  const Sums sums = sums_of(source.tensors);
  fmt::print("{}: {}\n", source.place.string(), source.describe());
  fmt::print("names      {}\n", scheme.source.empty() ? "of no network that is known here" : scheme.source);
  fmt::print("tensors    {} with {} numbers, {} bytes, {}\n", source.tensors.size(), grouped(sums.numbers),
             grouped(sums.bytes), dtypes_of(source.tensors));
  if (!source.state.empty()) print_checkpoint(source);
  for (const auto& [key, value] : source.metadata) {
    const bool is_table = key == "model" && !source.exported_table().empty();  // printed last
    if (!is_table) fmt::print("metadata   {} = {}\n", key, value);
  }
  size_t width = 0;
  for (const StoredTensor& t : source.tensors) width = std::max(width, t.name.size());
  fmt::print("\n");
  for (const StoredTensor& t : source.tensors)
    fmt::print("{:<{}}  {:<4} {}\n", t.name, width, t.dtype, shape_text(t.shape));
  if (!table.empty()) fmt::print("\n{}", table);
}

}  // namespace

int weights_info(Workspace& workspace, const fs::path& place, bool raw, bool json) {
  const WeightSource source = open_weights(place, raw);
  const NamingScheme scheme = recognise(source.tensors);
  const std::string table = table_for(workspace, source, scheme);
  json ? print_json(source, scheme, table) : print_text(source, scheme, table);
  return 0;
}

}  // namespace sdpipe
