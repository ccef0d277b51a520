#include "core/training/checkpoint.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <system_error>

#include "core/base/error.hpp"
#include "core/base/files.hpp"
#include "core/base/hash.hpp"
#include "core/base/log.hpp"
#include "core/training/safetensors.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
constexpr const char* manifest_name = "MANIFEST.json";
constexpr const char* latest_name = "latest";

bool is_checkpoint_name(const std::string& name) { return !name.empty() && std::all_of(name.begin(), name.end(), ::isdigit); }

Json manifest_of(const FileContents& files) {
  Json manifest = {{"format", 1}, {"files", Json::object()}};
  for (const auto& [name, content] : files) {
    Json& entry = manifest["files"][name] = {{"bytes", content.size()}, {"sha256", sha256(as_bytes(content))}};
    if (!name.ends_with(".safetensors")) continue;
    for (const StoredTensor& t : read_safetensors(content, name).tensors) entry["xxh3_128"][t.name] = xxh3_128(as_bytes(t.bytes));
  }
  return manifest;
}

[[noreturn]] void damaged(const fs::path& file, const std::string& why) {
  throw CheckpointError(fmt::format("checkpoint {} is damaged: {}", file.string(), why));
}

// The tensors whose hash differs, so that the message says how much is lost.
std::string changed_tensors(const std::string& content, const Json& entry, const std::string& name) {
  std::vector<std::string> changed;
  try {
    for (const StoredTensor& t : read_safetensors(content, name).tensors) {
      if (entry["xxh3_128"].value(t.name, "") != xxh3_128(as_bytes(t.bytes))) changed.push_back(t.name);
    }
  } catch (const CheckpointError&) {
    return " (its header)";
  }
  return changed.empty() ? " (its header)" : fmt::format(" (tensor \"{}\"{})", changed.front(), changed.size() > 1 ? " and others" : "");
}

std::string read_verified(const fs::path& file, const Json& entry) {
  std::error_code missing;
  if (!fs::exists(file, missing)) damaged(file, "the file is missing");
  std::string content = read_file(file);
  const size_t expected = entry.at("bytes").get<size_t>();
  if (content.size() != expected) damaged(file, fmt::format("it has {} bytes, {} were written", content.size(), expected));
  if (sha256(as_bytes(content)) != entry.at("sha256").get<std::string>()) {
    const bool tensors = file.extension() == ".safetensors";
    damaged(file, "its content is not what was written" + (tensors ? changed_tensors(content, entry, file.string()) : ""));
  }
  return content;
}

void write_folder(const fs::path& folder, const FileContents& files) {
  fs::create_directory(folder);
  for (const auto& [name, content] : files) write_file(folder / name, content);
  write_file(folder / manifest_name, manifest_of(files).dump(1) + "\n");
  sync_folder(folder);
}

void point_latest(const fs::path& parent, const std::string& name) {
  const fs::path link = parent / fmt::format("{}.tmp-{}", latest_name, ::getpid());
  fs::remove(link);
  fs::create_symlink(name, link);
  fs::rename(link, parent / latest_name);
  sync_folder(parent);
}

}  // namespace

StoredCheckpoint read_checkpoint(const fs::path& folder) {
  const fs::path manifest_file = folder / manifest_name;
  if (!fs::exists(manifest_file)) damaged(manifest_file, "the file is missing");
  StoredCheckpoint checkpoint{folder, {}};
  try {
    const Json manifest = Json::parse(read_file(manifest_file));
    if (manifest.at("format") != 1) damaged(manifest_file, "its format is not 1; a newer sdpipe wrote it");
    for (const auto& [name, entry] : manifest.at("files").items()) checkpoint.files[name] = read_verified(folder / name, entry);
  } catch (const nlohmann::json::exception& e) {
    damaged(manifest_file, fmt::format("it is not the JSON that was written: {}", e.what()));
  } catch (const std::system_error& e) {
    throw CheckpointError(fmt::format("checkpoint {} cannot be read: {}", folder.string(), e.what()));
  }
  return checkpoint;
}

CheckpointStore::CheckpointStore(fs::path folder) : folder_(std::move(folder)) {
  fs::create_directories(folder_);
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
    if (entry.path().filename().string().find(".tmp-") != std::string::npos) fs::remove_all(entry.path());
  }
}

void CheckpointStore::save(int64_t images, const FileContents& files, int64_t keep) const {
  const std::string name = fmt::format("{:09}", images);
  const fs::path target = folder_ / name, temporary = folder_ / fmt::format("{}.tmp-{}", name, ::getpid());
  try {
    write_folder(temporary, files);
    fs::remove_all(target);  // only ever a damaged one, whose work was done again
    fs::rename(temporary, target);
    sync_folder(folder_);
    point_latest(folder_, name);
  } catch (const std::system_error& e) {  // filesystem_error included
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw CheckpointError(fmt::format("checkpoint {} cannot be written: {}; older checkpoints are untouched, free some space and run again",
                                      target.string(), e.what()));
  }
  const std::vector<fs::path> all = folders();
  for (size_t i = static_cast<size_t>(keep); i < all.size(); ++i) fs::remove_all(all[i]);
}

std::vector<fs::path> CheckpointStore::folders() const {
  std::vector<fs::path> found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
    if (is_checkpoint_name(entry.path().filename().string()) && entry.is_directory() && !entry.is_symlink()) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end(), std::greater<>());
  return found;
}

std::optional<StoredCheckpoint> CheckpointStore::newest() const {
  std::string last_reason;
  for (const fs::path& folder : folders()) {
    try {
      return read_checkpoint(folder);
    } catch (const CheckpointError& e) {
      last_reason = e.what();
      log_warning(fmt::format("{}; going back to the checkpoint before it", e.what()));
    }
  }
  if (last_reason.empty()) return std::nullopt;
  throw CheckpointError(fmt::format("no checkpoint in {} is whole; the last reason: {}", folder_.string(), last_reason));
}

}  // namespace sdpipe
