#include "core/data/source.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/error.hpp"
#include "core/base/text.hpp"
#include "core/data/stored.hpp"

namespace sdpipe {
namespace {

void check_choice(const char* key, const std::string& value, const std::vector<std::string>& choices) {
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return;
  throw UsageError(
      fmt::format("data.{} = \"{}\" is none of {}{}", key, value, join(choices), did_you_mean(value, choices)));
}

void check_not_negative(const char* key, int64_t value) {
  if (value < 0) throw UsageError(fmt::format("data.{} = {} must not be negative", key, value));
}

// An option that does nothing would be a wrong belief about the data.
void check_folder_only(const DataOptions& o) {
  const char* key = o.crop.size || o.crop.center ? "crop"
                    : o.resize                   ? "resize"
                    : o.channels                 ? "channels"
                    : o.held_out                 ? "held_out"
                                                 : nullptr;
  if (key && o.type != "folder")
    throw UsageError(fmt::format("data.{} applies to data.type = \"folder\", not to \"{}\"", key, o.type));
}

void check(const DataOptions& o) {
  check_choice("type", o.type, {"folder", "idx", "cifar"});
  check_choice("on_bad_file", o.on_bad_file, {"error", "skip"});
  check_choice("split", o.split, {"train", "test"});
  check_not_negative("crop.size", o.crop.size);
  check_not_negative("resize", o.resize);
  check_not_negative("limit", o.limit);
  check_not_negative("held_out", o.held_out);
  if (o.crop.center && o.crop.size == 0) throw UsageError("data.crop has a center but no size");
  if (o.channels != 0 && o.channels != 1 && o.channels != 3)
    throw UsageError(fmt::format("data.channels = {} must be 1 or 3, or 0 for what the first file has", o.channels));
  check_folder_only(o);
}

}  // namespace

std::unique_ptr<Source> open_source(const DataOptions& options) {
  check(options);
  if (options.type == "idx") return open_idx(options);
  if (options.type == "cifar") return open_cifar(options);
  return std::make_unique<KeepingSource>(open_folder(options), options.on_bad_file == "skip");
}

}  // namespace sdpipe
