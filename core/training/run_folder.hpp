// runs/NAME: what one run leaves behind. Locked against a second process; identified by resolved.toml.
//
//   resolved.toml  manifest.json  checkpoints/  metrics.jsonl  timing.jsonl  samples/  report.html
#pragma once

#include <filesystem>
#include <functional>
#include <memory>

#include "core/base/files.hpp"
#include "core/training/checkpoint.hpp"

namespace sdpipe {

class RunFolder {
 public:
  // Creates the folder if needed and locks it. Throws RunError where another process has it.
  explicit RunFolder(std::filesystem::path folder);
  const std::filesystem::path& path() const { return folder_; }
  std::filesystem::path resolved_file() const { return folder_ / "resolved.toml"; }
  std::filesystem::path manifest_file() const { return folder_ / "manifest.json"; }
  std::filesystem::path checkpoints() const { return folder_ / "checkpoints"; }
  std::filesystem::path metrics_file() const { return folder_ / "metrics.jsonl"; }
  std::filesystem::path timing_file() const { return folder_ / "timing.jsonl"; }
  std::filesystem::path samples() const { return folder_ / "samples"; }
  std::filesystem::path report_file() const { return folder_ / "report.html"; }

 private:
  std::filesystem::path folder_;
  std::unique_ptr<FileLock> lock_;
};

// Moves an existing run aside to NAME.1, NAME.2, ... and returns where it went; nothing to do gives an empty path.
std::filesystem::path move_run_aside(const std::filesystem::path& folder);

// Appends one line to a log of one JSON object a line. A disk that refuses costs the line, not the run:
// that is warned about once.
void append_line(const std::filesystem::path& file, const std::string& line);

// Keeps the leading lines for which `keep` is true; a torn last line goes. A resumed run cuts its logs at the
// checkpoint's step.
void cut_log(const std::filesystem::path& file, const std::function<bool(const std::string& line)>& keep);

// write_file, unless the file already says so: what did not change keeps its time.
void update_file(const std::filesystem::path& file, const std::string& content);

}  // namespace sdpipe
