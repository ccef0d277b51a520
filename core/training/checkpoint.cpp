#include "core/training/checkpoint.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <system_error>

#include "core/base/error.hpp"
#include "core/base/files.hpp"
#include "core/base/hash.hpp"
#include "core/base/json.hpp"
#include "core/base/log.hpp"
#include "core/training/safetensors.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;
constexpr const char* manifest_name = "MANIFEST.json";
constexpr const char* latest_name = "latest";

bool is_checkpoint_name(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), ::isdigit);
}

// Names are numbers with leading zeros, nine digits at least.
bool is_newer(const std::string& a, const std::string& b) { return a.size() != b.size() ? a.size() > b.size() : a > b; }

Json entry_of(const std::string& name, const std::string& content, const std::string& sha) {
  Json entry = {{"bytes", content.size()}, {"sha256", sha}};
  if (!name.ends_with(".safetensors")) return entry;
  for (const StoredTensor& t : read_safetensors(content, name).tensors)
    entry["xxh3_128"][t.name] = xxh3_128(as_bytes(t.bytes));
  return entry;
}

std::string text_of(const Json& entries) { return Json{{"format", 1}, {"files", entries}}.dump(1) + "\n"; }

std::string manifest_of(const FileContents& files) {
  Json entries = Json::object();
  for (const auto& [name, content] : files) entries[name] = entry_of(name, content, sha256(as_bytes(content)));
  return text_of(entries);
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
  return changed.empty() ? " (its header)"
                         : fmt::format(" (tensor \"{}\"{})", changed.front(), changed.size() > 1 ? " and others" : "");
}

std::string read_verified(const fs::path& file, const Json& entry) {
  std::error_code missing;
  if (!fs::exists(file, missing)) damaged(file, "the file is missing");
  std::string content = read_file(file);
  const size_t expected = entry.at("bytes").get<size_t>();
  if (content.size() != expected)
    damaged(file, fmt::format("it has {} bytes, {} were written", content.size(), expected));
  if (sha256(as_bytes(content)) != entry.at("sha256").get<std::string>()) {
    const bool tensors = file.extension() == ".safetensors";
    damaged(file, fmt::format("its content is not what was written{}",
                              tensors ? changed_tensors(content, entry, file.string()) : ""));
  }
  return content;
}

bool is_held(const std::string& name, const Json& entries, Use use) {
  if (use == Use::training) return true;
  return name != "optimizer.safetensors" && !(name == "model.safetensors" && entries.contains("ema.safetensors"));
}

void write_folder(const fs::path& folder, const FileContents& files) {
  fs::create_directory(folder);
  for (const auto& [name, content] : files) write_file(folder / name, content);
  write_file(folder / manifest_name, manifest_of(files));
  sync_folder(folder);
}

// Out of sight in one step, then away: a process killed in between leaves no half of a checkpoint that looks like one.
void take_away(const fs::path& folder) {
  const fs::path hidden = fmt::format("{}.tmp-{}-old", folder.string(), ::getpid());
  fs::rename(folder, hidden);
  fs::remove_all(hidden);
}

void point_latest(const fs::path& parent, const std::string& name) {
  const fs::path link = parent / fmt::format("{}.tmp-{}", latest_name, ::getpid());
  fs::remove(link);
  fs::create_symlink(name, link);
  fs::rename(link, parent / latest_name);
  sync_folder(parent);
}

}  // namespace

StoredCheckpoint read_checkpoint(const fs::path& folder, Use use) {
  const fs::path manifest_file = folder / manifest_name;
  if (!fs::exists(folder)) {
    throw CheckpointError(
        fmt::format("checkpoint {} is not there; where a training goes on, newer ones take the place of older: run the "
                    "command again, or name another",
                    folder.string()));
  }
  if (!fs::exists(manifest_file)) damaged(manifest_file, "the file is missing");
  StoredCheckpoint checkpoint{folder, {}};
  try {
    const std::string text = read_file(manifest_file);
    const Json manifest = Json::parse(text);
    if (manifest.at("format") != 1) damaged(manifest_file, "its format is not 1; a newer sdpipe wrote it");
    Json entries = Json::object();
    entries.update(manifest.at("files"));  // their order
    // First those that are verified alone, the optimizer's above all, while nothing is held beside them.
    for (const bool held : {false, true}) {
      for (const auto& [name, entry] : manifest.at("files").items()) {
        if (is_held(name, manifest["files"], use) != held) continue;
        if (name.find('/') != std::string::npos)
          damaged(manifest_file, fmt::format("it names a file outside the checkpoint, \"{}\"", name));
        std::string content = read_verified(folder / name, entry);
        entries[name] = entry_of(name, content, entry.at("sha256"));
        if (held) checkpoint.files[name] = std::move(content);
      }
    }
    // What the files do not contradict, such as the hash of one tensor, may be damaged too.
    if (text != text_of(entries)) damaged(manifest_file, "it does not fit the files");
  } catch (const JsonError& e) {
    damaged(manifest_file, fmt::format("it is not the JSON that was written: {}", e.what()));
  } catch (const std::system_error& e) {
    throw CheckpointError(fmt::format("checkpoint {} cannot be read: {}", folder.string(), e.what()));
  }
  return checkpoint;
}

namespace {

// Newest first.
std::vector<fs::path> checkpoints_in(const fs::path& folder) {
  std::vector<fs::path> found;
  if (!fs::exists(folder)) return found;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (is_checkpoint_name(entry.path().filename().string()) && entry.is_directory() && !entry.is_symlink())
      found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end(), [](const fs::path& a, const fs::path& b) {
    return is_newer(a.filename().string(), b.filename().string());
  });
  return found;
}

}  // namespace

std::optional<StoredCheckpoint> newest_checkpoint(const fs::path& folder, Use use) {
  const std::vector<fs::path> all = checkpoints_in(folder);
  for (const fs::path& candidate : all) {
    try {
      return read_checkpoint(candidate, use);
    } catch (const CheckpointError& e) {
      if (!fs::exists(candidate)) return newest_checkpoint(folder, use);  // a training beside this has gone on
      if (candidate == all.back())
        throw CheckpointError(
            fmt::format("no checkpoint in {} is whole; the last reason: {}", folder.string(), e.what()));
      log_warning(fmt::format("{}; going back to the checkpoint before it", e.what()));
    }
  }
  return std::nullopt;
}

StoredCheckpoint checkpoint_of_run(const fs::path& folder, Use use) {
  if (auto newest = newest_checkpoint(folder / "checkpoints", use)) return std::move(*newest);
  throw CheckpointError(fmt::format("{} has no checkpoint yet; `sdpipe run` makes one", folder.string()));
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
    if (fs::exists(target)) take_away(target);
    fs::rename(temporary, target);
    sync_folder(folder_);
    point_latest(folder_, name);
  } catch (const std::system_error& e) {  // filesystem_error included
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw CheckpointError(fmt::format(
        "checkpoint {} cannot be written: {}; older checkpoints are untouched, free some space and run again",
        target.string(), e.what()));
  }
  const std::vector<fs::path> all = checkpoints_in(folder_);
  for (size_t i = static_cast<size_t>(keep); i < all.size(); ++i) {
    try {
      take_away(all[i]);
    } catch (const fs::filesystem_error& e) {  // an old checkpoint that stays is no reason to end the run
      log_warning(fmt::format("{} cannot be removed: {}", all[i].string(), e.code().message()));
    }
  }
}

std::optional<StoredCheckpoint> CheckpointStore::newest() const {
  auto found = newest_checkpoint(folder_);
  if (!found) return found;
  for (const fs::path& folder : checkpoints_in(folder_)) {
    if (folder == found->folder) break;
    const fs::path aside = folder.string() + ".damaged";
    fs::remove_all(aside);
    fs::rename(folder, aside);
    log_warning(fmt::format("{} is now {}", folder.string(), aside.string()));
    point_latest(folder_, found->folder.filename().string());
  }
  return found;
}

}  // namespace sdpipe
