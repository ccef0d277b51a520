#include "core/training/weight_source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "core/base/error.hpp"
#include "core/base/files.hpp"
#include "core/base/json.hpp"
#include "core/training/checkpoint.hpp"
#include "core/training/weight_names.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;

constexpr const char* diffusers_file = "diffusion_pytorch_model.safetensors";
constexpr const char* diffusers_index = "diffusion_pytorch_model.safetensors.index.json";

// A zip archive, as torch.save writes, or a bare pickle. A safetensors file may begin with the same bytes, but goes on
// with zeros, of its header's length, and a brace.
bool is_pickle(const fs::path& file) {
  char start[9] = {};
  std::ifstream(file, std::ios::binary).read(start, sizeof start);
  const std::string_view begin(start, sizeof start);
  const bool safetensors = begin.substr(4) == std::string_view("\0\0\0\0{", 5);
  return !safetensors && (begin.starts_with("PK\x03\x04") || begin[0] == '\x80');
}

void refuse_pickle(const fs::path& file) {
  if (!is_pickle(file)) return;
  throw UsageError(fmt::format(
      "{} is a pickle, a program that could do anything, and never read; write it as safetensors in Python:\n"
      "  import torch; from safetensors.torch import save_file\n"
      "  save_file(torch.load(\"{}\", map_location=\"cpu\"), \"{}\")\n"
      "That is for a plain table of tensors; docs/weights.md has the lines for checkpoints of score_sde",
      file.string(), file.filename().string(), fs::path(file.filename()).replace_extension("safetensors").string()));
}

void add_content(WeightSource& source, const std::string& name, std::string content) {
  const std::string& kept = source.contents[name] = std::move(content);
  SafetensorsFile file = read_safetensors(kept, name);
  for (StoredTensor& t : file.tensors) source.tensors.push_back(std::move(t));
  source.metadata.merge(file.metadata);
}

void add_file(WeightSource& source, const fs::path& file) {
  refuse_pickle(file);
  add_content(source, file.string(), read_file(file));
}

Json parse(const fs::path& file, const std::string& text) {
  const Json parsed = Json::parse(text, nullptr, false);
  if (!parsed.is_object()) throw CheckpointError(fmt::format("{} is not a JSON object", file.string()));
  return parsed;
}

void read_config(WeightSource& source, const fs::path& file) {
  source.config = read_file(file);
  parse(file, source.config);
}

WeightSource open_file(const fs::path& file) {
  WeightSource source;
  source.place = file;
  add_file(source, file);
  // Whatever it is called, a file of diffusers' means as little without its config.json as a folder does.
  const fs::path config = file.parent_path() / "config.json";
  if (recognise(source.tensors).diffusers && fs::exists(config)) read_config(source, config);
  return source;
}

// The files that diffusers splits large networks into.
std::set<std::string> shards(const fs::path& index) {
  const Json parsed = parse(index, read_file(index));
  std::set<std::string> names;
  const Json map = parsed.value("weight_map", Json::object());
  for (const auto& item : map.items()) {
    if (!item.value().is_string() || item.value().get<std::string>().find('/') != std::string::npos)
      throw CheckpointError(fmt::format("{}: \"{}\" is not in a file beside it", index.string(), item.key()));
    names.insert(item.value().get<std::string>());
  }
  if (names.empty()) throw CheckpointError(fmt::format("{} names no file", index.string()));
  return names;
}

[[noreturn]] void refuse_folder(const fs::path& folder) {
  std::vector<fs::path> others;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file()) others.push_back(entry.path());
  }
  std::sort(others.begin(), others.end());
  for (const fs::path& file : others) refuse_pickle(file);
  for (const fs::path& file : others) {
    if (file.extension() == ".safetensors")
      throw UsageError(fmt::format("{} has no {}; name the file that you mean, such as {}", folder.string(),
                                   diffusers_file, file.string()));
  }
  throw UsageError(fmt::format("{} has no {}", folder.string(), diffusers_file));
}

// Where there are both, an index comes before the one file, as in diffusers.
WeightSource open_diffusers(const fs::path& folder) {
  WeightSource source;
  source.kind = WeightSource::Kind::diffusers;
  source.place = folder;
  read_config(source, folder / "config.json");
  if (fs::exists(folder / diffusers_index))
    for (const std::string& name : shards(folder / diffusers_index)) add_file(source, folder / name);
  else if (fs::exists(folder / diffusers_file))
    add_file(source, folder / diffusers_file);
  else
    refuse_folder(folder);
  return source;
}

std::vector<int64_t> sample_of(const StoredCheckpoint& checkpoint) {
  const auto it = checkpoint.files.find("process.safetensors");
  if (it == checkpoint.files.end()) return {};
  for (const StoredTensor& t : read_safetensors(it->second, it->first).tensors) {
    if (t.name == "prior.mean") return t.shape;
  }
  return {};
}

WeightSource open_checkpoint(StoredCheckpoint checkpoint, bool raw) {
  WeightSource source;
  source.kind = WeightSource::Kind::checkpoint;
  source.place = checkpoint.folder;
  source.run = fs::weakly_canonical(checkpoint.folder).parent_path().parent_path();  // it may be named "000057600/"
  source.averaged = !raw && checkpoint.files.contains("ema.safetensors");
  const std::string name = source.averaged ? "ema.safetensors" : "model.safetensors";
  if (!checkpoint.files.contains(name) || !checkpoint.files.contains("state.json"))
    throw CheckpointError(fmt::format("checkpoint {} holds no {} or no state.json", checkpoint.folder.string(), name));
  source.state = checkpoint.files["state.json"];
  source.sample = sample_of(checkpoint);
  add_content(source, (checkpoint.folder / name).string(), std::move(checkpoint.files[name]));
  return source;
}

// The averaged weights are those that samples are drawn with; beside them the raw ones are not held.
Use use_of(bool raw) { return raw ? Use::training : Use::sampling; }

WeightSource open_run(const fs::path& folder, bool raw) {
  if (!fs::exists(folder / "checkpoints") && fs::exists(folder / "variants"))
    throw CheckpointError(fmt::format("{} holds variants: name the folder of one of them, {}/variants/...",
                                      folder.string(), folder.string()));
  return open_checkpoint(checkpoint_of_run(folder, use_of(raw)), raw);
}

WeightSource open_folder(const fs::path& folder, bool raw) {
  if (fs::exists(folder / "MANIFEST.json")) return open_checkpoint(read_checkpoint(folder, use_of(raw)), raw);
  if (fs::exists(folder / "resolved.toml")) return open_run(folder, raw);
  if (raw)
    throw UsageError(fmt::format("--raw chooses between the weights of a run, which {} is not", folder.string()));
  if (fs::exists(folder / "config.json")) return open_diffusers(folder);
  if (fs::exists(folder / "unet" / "config.json")) return open_diffusers(folder / "unet");
  throw UsageError(
      fmt::format("{} is neither a run's folder (with resolved.toml in it), nor a checkpoint of one, nor a folder of "
                  "diffusers' (with config.json)",
                  folder.string()));
}

}  // namespace

std::string WeightSource::describe() const {
  const std::string files = contents.size() == 1 ? "" : fmt::format(" of {} files", contents.size());
  switch (kind) {
    case Kind::diffusers:
      return "a diffusers folder" + files;
    case Kind::checkpoint:
      return averaged ? "a checkpoint, its averaged weights (EMA)" : "a checkpoint, its weights as trained";
    case Kind::file:
      break;
  }
  return config.empty() ? "a safetensors file" : "a safetensors file and the config.json beside it";
}

std::string WeightSource::exported_table() const {
  const auto table = metadata.find("model");  // other programs may use that key for something of theirs
  return table == metadata.end() || !metadata.contains("sdpipe") ? "" : table->second;
}

WeightSource open_weights(const fs::path& place, bool raw) {
  if (!fs::exists(place)) throw UsageError(fmt::format("{} is not there", place.string()));
  WeightSource source;
  if (fs::is_directory(place)) {
    source = open_folder(place, raw);
  } else {
    if (raw)
      throw UsageError(fmt::format("--raw chooses between the weights of a run, which {} is not", place.string()));
    source = open_file(place);
  }
  std::sort(source.tensors.begin(), source.tensors.end(),
            [](const StoredTensor& a, const StoredTensor& b) { return a.name < b.name; });
  const auto twice = std::adjacent_find(source.tensors.begin(), source.tensors.end(),
                                        [](const auto& a, const auto& b) { return a.name == b.name; });
  if (twice != source.tensors.end())
    throw CheckpointError(fmt::format("{} holds \"{}\" in two of its files", place.string(), twice->name));
  return source;
}

}  // namespace sdpipe
