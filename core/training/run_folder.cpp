#include "core/training/run_folder.hpp"

#include <fmt/format.h>

#include <atomic>
#include <fstream>
#include <regex>
#include <sstream>
#include <system_error>

#include "core/base/error.hpp"
#include "core/base/log.hpp"

namespace sdpipe {

namespace fs = std::filesystem;

namespace {

// What write_file leaves where the process was killed: NAME.tmp-PID.
void remove_unfinished(const fs::path& folder) {
  if (!fs::exists(folder)) return;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const bool unfinished = std::regex_match(entry.path().filename().string(), std::regex(".+\\.tmp-[0-9]+"));
    if (unfinished && entry.is_regular_file()) fs::remove(entry.path());
  }
}

}  // namespace

RunFolder::RunFolder(fs::path folder) : folder_(std::move(folder)) {
  try {
    fs::create_directories(folder_);
    lock_ = std::make_unique<FileLock>(folder_ / ".lock");
  } catch (const std::system_error& e) {
    throw RunError(fmt::format("the run's folder cannot be made: {}", e.what()));
  }
  if (!lock_->held())
    throw RunError(
        fmt::format("{} is in use by another sdpipe; wait for it, or give this run another name with run.name=...",
                    folder_.string()));
  for (const fs::path& place : {folder_, samples()}) remove_unfinished(place);
}

fs::path move_run_aside(const fs::path& folder) {
  if (!fs::exists(folder)) return {};
  const RunFolder not_in_use(folder);
  for (int i = 1;; ++i) {
    const fs::path aside = folder.string() + "." + std::to_string(i);
    if (fs::exists(aside)) continue;
    fs::rename(folder, aside);
    return aside;
  }
}

void append_line(const fs::path& file, const std::string& line) {
  std::ofstream out(file, std::ios::app | std::ios::binary);
  out << line << '\n';
  out.close();
  static std::atomic<bool> warned{false};
  if (!out && !warned.exchange(true))
    log_warning(fmt::format("{} cannot be written, is the disk full? The run goes on without its log", file.string()));
}

void cut_log(const fs::path& file, const std::function<bool(const std::string&)>& keep) {
  if (!fs::exists(file)) return;
  std::istringstream in(read_file(file));
  std::string kept, line;
  while (std::getline(in, line) && !in.eof() && keep(line)) kept += line + '\n';
  update_file(file, kept);
}

void update_file(const fs::path& file, const std::string& content) {
  if (!fs::exists(file) || read_file(file) != content) write_file(file, content);
}

}  // namespace sdpipe
