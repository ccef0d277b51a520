#include "core/run/scoring.hpp"

#include <algorithm>

#include "core/base/files.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t feature_seed = 0;  // the same for all runs: scores on the same data compare

// Names and contents of every file in a folder; "" where it is absent.
std::string hash_of_folder(const fs::path& folder) {
  if (!fs::exists(folder)) return "";
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file())
      files.push_back(fs::relative(entry.path(), folder).string() + " " + sha256_of_file(entry.path()));
  }
  std::sort(files.begin(), files.end());
  std::string all;
  for (const std::string& file : files) all += file + "\n";
  return sha256(as_bytes(all));
}

}  // namespace

Scoring::Scoring(Workspace& workspace, const OpenedData& data, bool flip, fs::path folder, const std::string& id,
                 const Json& facts)
    : workspace_(workspace), data_(data), flip_(flip), folder_(std::move(folder)) {
  if (!id.empty() && facts == this->facts(id)) id_ = id;
}

const std::string& Scoring::feature_id() {
  if (id_.empty()) scorer();
  return id_;
}

const Scorer& Scoring::scorer() {
  if (scorer_) return *scorer_;
  fs::create_directories(folder_);
  Progress progress("features of real images", "%", 0, 100, workspace_.progress());
  const auto show = [&](double fraction) { progress.update(static_cast<uint64_t>(100 * fraction)); };
  scorer_ = std::make_unique<Scorer>(*data_.source, folder_, feature_seed, &workspace_.stop(), show, flip_);
  progress.finish();
  id_ = scorer_->feature_id();
  return *scorer_;
}

Json Scoring::facts(const std::string& id) const {
  return {{"id", id},
          {"files_sha256", hash_of_folder(folder_)},
          {"data_sha256", data_.sha256},
          {"labels_sha256", sha256(std::as_bytes(data_.source->labels()))}};
}

}  // namespace sdpipe
