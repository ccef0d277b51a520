// A folder of pictures, with its subfolders.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <system_error>

#include "core/base/error.hpp"
#include "core/base/files.hpp"
#include "core/base/hash.hpp"
#include "core/data/stored.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;

bool has_image_name(const fs::path& file) {
  constexpr std::array known = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"};
  std::string extension = file.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return std::find(known.begin(), known.end(), extension) != known.end();
}

// Paths below `folder` in the order of their bytes, so that every machine agrees. Names that begin with a dot are left
// out: file managers put thumbnails and resource forks there.
std::vector<std::string> list_images(const fs::path& folder) {
  std::vector<std::string> names;
  for (auto entry = fs::recursive_directory_iterator(folder); entry != fs::recursive_directory_iterator(); ++entry) {
    const bool hidden = entry->path().filename().string().starts_with('.');
    if (entry->is_directory()) {
      if (hidden) entry.disable_recursion_pending();
    } else if (!hidden && has_image_name(entry->path())) {
      names.push_back(entry->path().lexically_relative(folder).generic_string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

// The names of one split, in their order. A hash of the name alone decides, so that a picture stays on its side when
// others come or go, up to those at the border.
std::vector<std::string> part_of(std::vector<std::string> names, const DataOptions& options) {
  const size_t count = static_cast<size_t>(options.held_out);
  const bool held = options.split == "test";
  if (count == 0 && !held) return names;
  if (count == 0) {
    throw DataError(fmt::format("no images of \"{}\" are held out: data.held_out is 0, and training saw them all",
                                options.path.string()));
  }
  if (count >= names.size()) {
    throw DataError(fmt::format("data.held_out = {} leaves none of the {} images in \"{}\" for training", count,
                                names.size(), options.path.string()));
  }
  std::vector<std::pair<std::string, std::string>> by_hash;
  for (const std::string& name : names) by_hash.emplace_back(xxh3_128(as_bytes(name)), name);
  std::sort(by_hash.begin(), by_hash.end());
  std::vector<std::string> part;
  for (size_t i = held ? 0 : count; i < (held ? count : by_hash.size()); ++i) part.push_back(by_hash[i].second);
  std::sort(part.begin(), part.end());
  return part;
}

class FolderSource final : public Source {
 public:
  explicit FolderSource(const DataOptions& options) : options_(options), names_(find_names(options)) {
    const auto [index, first] = first_good();
    shape_ = first.shape;
    model_ = index;
  }

  int64_t size() const override { return static_cast<int64_t>(names_.size()); }
  ImageShape shape() const override { return shape_; }
  std::string name_of(int64_t index) const override { return file(index).string(); }
  ByteImage read(int64_t index) const override;
  std::string describe() const override;
  std::string content_hash() const override;

 private:
  static std::vector<std::string> find_names(const DataOptions& options);
  fs::path file(int64_t index) const { return options_.path / names_[static_cast<size_t>(index)]; }
  ByteImage prepare(int64_t index, int64_t channels) const;
  FloatImage cut(FloatImage image, const fs::path& from) const;
  std::pair<int64_t, ByteImage> first_good() const;
  std::string preparation() const;

  DataOptions options_;
  std::vector<std::string> names_;
  ImageShape shape_;
  int64_t model_ = 0;  // the picture whose shape the others must have
};

std::vector<std::string> FolderSource::find_names(const DataOptions& options) {
  const std::string path = options.path.string();
  std::error_code error;
  if (!fs::is_directory(options.path, error))
    throw DataError(fmt::format("data.path: there is no folder \"{}\"", path));
  std::vector<std::string> names;
  try {
    names = list_images(options.path);
  } catch (const fs::filesystem_error& e) {
    throw DataError(fmt::format("data.path: cannot list \"{}\": {}", e.path1().string(), e.code().message()));
  }
  if (names.empty())
    throw DataError(fmt::format("data.path: no image (.png .jpg .jpeg .webp .bmp .tif .tiff) in \"{}\"", path));
  names = part_of(std::move(names), options);
  if (options.limit > 0) names.resize(std::min(names.size(), static_cast<size_t>(options.limit)));
  return names;
}

FloatImage FolderSource::cut(FloatImage image, const fs::path& from) const {
  const auto [channels, height, width] = image.shape;
  int64_t size = options_.crop.size;
  if (size == 0 && options_.resize == 0) return image;
  if (size == 0) size = std::min(height, width);
  const auto& center = options_.crop.center;
  const int64_t left = center ? center->x - size / 2 : (width - size) / 2;
  const int64_t top = center ? center->y - size / 2 : (height - size) / 2;
  if (size > std::min(height, width) || left < 0 || top < 0 || left + size > width || top + size > height)
    throw DataError(
        fmt::format("\"{}\" is {} x {} pixels (width x height): data.crop takes columns {} to {} and rows "
                    "{} to {}, which are not all inside",
                    from.string(), width, height, left, left + size - 1, top, top + size - 1));
  return crop(image, left, top, size);
}

ByteImage FolderSource::prepare(int64_t index, int64_t channels) const {
  FloatImage image = cut(read_image(file(index), channels), file(index));
  return to_bytes(options_.resize > 0 ? resize(image, options_.resize) : image);
}

// The first picture that can be read fixes the shape.
std::pair<int64_t, ByteImage> FolderSource::first_good() const {
  std::string first_reason;
  for (int64_t i = 0; i < size(); ++i) {
    try {
      return {i, prepare(i, options_.channels)};
    } catch (const DataError& error) {
      if (options_.on_bad_file != "skip")
        throw DataError(fmt::format("{}. Repair or remove it, or set data.on_bad_file = \"skip\"", error.what()));
      if (first_reason.empty()) first_reason = error.what();
    }
  }
  throw DataError(fmt::format("data.path: none of the {} images in \"{}\" can be used; the first: {}", size(),
                              options_.path.string(), first_reason));
}

ByteImage FolderSource::read(int64_t index) const {
  ByteImage image = prepare(index, shape_.channels);
  if (image.shape == shape_) return image;
  throw DataError(fmt::format(
      "\"{}\" is {} x {} pixels (width x height), but \"{}\" is {} x {}; data.resize or "
      "data.crop makes them equal",
      file(index).string(), image.shape.width, image.shape.height, file(model_).string(), shape_.width, shape_.height));
}

std::string FolderSource::preparation() const {
  std::string text;
  const CropOptions& c = options_.crop;
  if (c.size > 0 && c.center) text += fmt::format(", crop {} at ({}, {})", c.size, c.center->x, c.center->y);
  if (c.size > 0 && !c.center) text += fmt::format(", crop {} at the centre", c.size);
  if (c.size == 0 && options_.resize > 0) text += ", largest square at the centre";
  if (options_.resize > 0) text += fmt::format(", resized to {} with lanczos3", options_.resize);
  if (options_.held_out > 0 && options_.split == "test") text += ", the part held out";
  if (options_.held_out > 0 && options_.split != "test") text += fmt::format(", {} held out", options_.held_out);
  return text;
}

std::string FolderSource::describe() const {
  return fmt::format("{} images of {} from \"{}\" (folder{})", size(), to_text(shape_), options_.path.string(),
                     preparation());
}

std::string FolderSource::content_hash() const {
  std::string text = fmt::format("{} images of {}{}\n", size(), to_text(shape_), preparation());
  for (int64_t i = 0; i < size(); ++i) {
    try {
      text += fmt::format("{} {}\n", xxh3_128(as_bytes(read_file(file(i)))), names_[static_cast<size_t>(i)]);
    } catch (const std::system_error& error) {
      if (options_.on_bad_file != "skip") throw DataError(fmt::format("cannot read {}", error.what()));
      text += fmt::format("unreadable {}\n", names_[static_cast<size_t>(i)]);
    }
  }
  return sha256(as_bytes(text));
}

}  // namespace

std::unique_ptr<Source> open_folder(const DataOptions& options) { return std::make_unique<FolderSource>(options); }

}  // namespace sdpipe
