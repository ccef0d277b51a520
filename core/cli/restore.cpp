#include <ATen/ops/stack.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <regex>

#include "core/base/files.hpp"
#include "core/base/json.hpp"
#include "core/base/log.hpp"
#include "core/base/text.hpp"
#include "core/cli/observed.hpp"
#include "core/cli/signals.hpp"
#include "core/cli/stages.hpp"
#include "core/cli/verbs.hpp"
#include "core/config/warnings.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/evaluation/image_quality.hpp"
#include "core/evaluation/restored.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;

constexpr int64_t grid_rows = 16;

// Of the words after the run, those that are files or look like no override are images.
bool is_override(const std::string& word) {
  std::error_code no_name;  // a long override is too long for a file
  if (fs::exists(word, no_name)) return false;
  return word.starts_with('~') || word.find('=') != std::string::npos;
}

// The overrides among the words, or the images.
std::vector<std::string> words_of(const RestoreArguments& arguments, bool overrides) {
  std::vector<std::string> words;
  std::copy_if(arguments.words.begin(), arguments.words.end(), std::back_inserter(words),
               [&](const std::string& word) { return is_override(word) == overrides; });
  return words;
}

struct Row {
  std::string name;
  std::vector<ByteImage> images;
  int64_t nfe = 0;
  std::string basis = "";     // of the linear estimate's covariance
  double psnr = 0, ssim = 0;  // means over the images, where they are known

  std::string label() const { return basis.empty() ? name : fmt::format("{} (LMMSE, {})", name, basis); }
};

class RestoreVerb {
 public:
  RestoreVerb(Session& session, const RestoreArguments& arguments, FoundRun found, StoredCheckpoint checkpoint)
      : session_(session),
        arguments_(arguments),
        found_(std::move(found)),
        shape_(stored_shape(checkpoint)),
        model_(make_model(pipeline(), shape_)),
        trained_(load_trained(pipeline(), std::move(checkpoint), model_)),
        seed_(static_cast<uint64_t>(pipeline().sample.integer("seed"))) {
    choose_methods();
    choose_corruption();
  }

  int execute() {
    require_writable(output());
    require_apart();
    look();
    compare();
    for (const std::string& method : methods_) rows_.push_back(restore(method));
    for (Row& row : rows_) measure(row);
    write();
    arguments_.json ? print_json() : print_table();
    return 0;
  }

 private:
  const Pipeline& pipeline() const { return found_.pipeline; }
  bool own() const { return arguments_.corruption.empty(); }
  bool simulated() const { return arguments_.clean || arguments_.held_out > 0; }
  fs::path output() const { return arguments_.output.empty() ? found_.folder / "restored" : arguments_.output; }
  fs::path grid() const { return output() / "grid.png"; }

  void choose_methods() {
    methods_ = restoration_methods();
    const std::string& asked = arguments_.method;
    if (!asked.empty() && std::find(methods_.begin(), methods_.end(), asked) == methods_.end()) {
      throw UsageError(fmt::format("no restoration method named \"{}\"{}; known: {}", asked,
                                   did_you_mean(asked, methods_), join(methods_)));
    }
    if (!asked.empty()) methods_ = {asked};
    if (own()) return;
    if (asked == "reverse") {
      throw UsageError(
          "method \"reverse\" undoes the run's own corruption, and --corruption is another: use projection or "
          "guidance");
    }
    std::erase(methods_, "reverse");
  }

  // A, and the level at which it was or will be applied.
  void choose_corruption() {
    Pipeline with = pipeline();
    if (!own()) {
      with.corruption = parse_corruption(arguments_.corruption, session_.registry());
      load_image_parameters(with);
    }
    seen_.corruption = make_corruption(with, shape_);
    seen_.sigma = arguments_.noise.value_or(byte_noise);
    seen_.seed = seed_;
    const double largest = seen_.corruption->level_max();
    if (own() && !simulated() && !arguments_.level) {
      throw UsageError(
          fmt::format("at which level are the images corrupted? Give --level, from 0 to {:g}{}", largest, unit()));
    }
    seen_.level = arguments_.level.value_or(own() ? trained_->process->path().level(1) / 2 : largest);
    if (!(seen_.level >= 0 && seen_.level <= largest)) {
      throw UsageError(fmt::format("--level {:g} is not within 0 to {:g}{}, the levels of this corruption", seen_.level,
                                   largest, unit()));
    }
    require_known_corruption();
    require_on_path();
    warn_of_noise();
  }

  // A path may end below the corruption's largest level; beyond its end there is nothing to reverse.
  void require_on_path() {
    const double end = trained_->process->path().level(1);
    if (methods_.front() != "reverse" || seen_.level <= end) return;
    const std::string beyond =
        fmt::format("--level {:g} is beyond level {:g}{}, where the run's path ends", seen_.level, end, unit());
    if (!arguments_.method.empty())
      throw UsageError(fmt::format("{}, and method reverse begins on it: use projection or guidance", beyond));
    log_warning(fmt::format("{}: method reverse is left out", beyond));
    std::erase(methods_, "reverse");
  }

  // Of an image made elsewhere no key is known.
  void require_known_corruption() const {
    if (simulated() || !depends_on_key(seen_.corruption, seen_.level, shape_, tensor_options(pipeline()))) return;
    throw UsageError(
        fmt::format("what is random in {} is not known for a file: give --corruption with what was used, such as a "
                    "mask's image, or --clean and a clean file",
                    operators()));
  }

  std::string unit() const {
    const std::string unit = seen_.corruption->level_unit();
    return unit.empty() ? "" : " " + unit;
  }

  void warn_of_noise() const {
    if (methods_.front() != "reverse") return;
    const PathEntry entry = path_entry(trained_->process->path(), seen_.level, seen_.sigma);
    if (!entry.too_noisy) return;
    log_warning(
        fmt::format("the observation has noise {:g}, but the run's path has {:g} at level {:g}{}: method reverse "
                    "takes the rest for a part of the image",
                    seen_.sigma, trained_->process->path().sigma(entry.t), seen_.level, unit()));
  }

  // Reads the images; corrupts those that are clean.
  void look() {
    const at::TensorOptions options = tensor_options(pipeline());
    at::Tensor images;
    if (arguments_.held_out > 0) {
      const auto source = held_out_images(pipeline(), shape_);
      if (arguments_.held_out > source->size()) {
        throw DataError(fmt::format("--held-out {}: there are {}", arguments_.held_out, source->describe()));
      }
      require_same_data(found_.folder, open_data(pipeline()));
      images = read_batch(*source, choose_images(source->size(), arguments_.held_out, seed_)).to(options);
      what_ = fmt::format("{} of {}", arguments_.held_out, source->describe());
    } else {
      std::vector<at::Tensor> pictures;
      for (const std::string& file : words_of(arguments_, false))
        pictures.push_back(read_picture(file, shape_, options));
      images = at::stack(pictures);
      what_ = fmt::format("{} image{}", pictures.size(), pictures.size() == 1 ? "" : "s");
    }
    if (simulated()) {
      clean_ = to_byte_images(images);
      seen_ = observe(images, seen_.corruption, seen_.level, seen_.sigma, seed_);
    } else {
      seen_.y = images;
    }
  }

  // What the methods are measured against.
  void compare() {
    const int64_t batch = pipeline().sample.integer("batch");
    rows_.push_back({"observed", to_byte_images(seen_.y)});
    rows_.push_back({"pseudo-inverse", to_byte_images(pseudo_inverses(seen_, batch))});
    if (const auto law = law_of_images(trained_->prior, seen_.y)) {
      rows_.push_back({"linear", to_byte_images(linear_estimates(seen_, *law, batch)), 0, law->basis});
    } else {
      log_info(
          "the row \"linear\" is left out: it needs the covariance of the clean images, which this checkpoint does not "
          "hold, because an earlier version wrote it");
    }
    if (const auto side = side_of_blocks(seen_))
      rows_.push_back({"bicubic", to_byte_images(enlarged_blocks(seen_.y, *side))});
    compared_ = rows_.size();
  }

  Row restore(const std::string& method) {
    const int64_t count = seen_.y.size(0);
    Progress progress("restore by " + method, "images", 0, static_cast<uint64_t>(count), session_.progress());
    RestoreRequest request{method, arguments_.strength, arguments_.average, &stop_requested(),
                           [&](int64_t done) { progress.update(static_cast<uint64_t>(done)); }};
    const Restored restored = restore_images(pipeline(), model_, *trained_, seen_, request);
    progress.finish();
    return {method, to_byte_images(restored.x), restored.nfe};
  }

  void measure(Row& row) const {
    for (size_t i = 0; i < clean_.size(); ++i) {
      row.psnr += psnr(clean_[i], row.images[i]) / static_cast<double>(clean_.size());
      row.ssim += ssim(clean_[i], row.images[i]) / static_cast<double>(clean_.size());
    }
  }

  // grid.png: an image in each row, clean (where known), then as the table's rows. And the restored files.
  void write() const {
    remove_earlier();
    std::vector<ByteImage> cells;
    const size_t count = std::min<size_t>(rows_[0].images.size(), grid_rows);
    for (size_t i = 0; i < count; ++i) {
      if (simulated()) cells.push_back(clean_[i]);
      for (const Row& row : rows_) cells.push_back(row.images[i]);
    }
    write_png(grid(), make_grid(cells, static_cast<int64_t>(cells.size() / count)));
    if (arguments_.held_out > 0) return;
    for (size_t k = compared_; k < rows_.size(); ++k) {
      for (size_t i = 0; i < rows_[k].images.size(); ++i)
        write_png(output() / fmt::format("{}-{:04}.png", rows_[k].name, i), rows_[k].images[i]);
    }
  }

  static bool is_result(const fs::path& file) {
    static const std::regex restored(
        fmt::format(R"(({})-[0-9]{{4,}}\.png|grid\.png)", join(restoration_methods(), "|")));
    return std::regex_match(file.filename().string(), restored);
  }

  // What is to be restored must not be what the result takes the place of.
  void require_apart() const {
    for (const std::string& file : words_of(arguments_, false)) {
      const fs::path whole = fs::weakly_canonical(file);
      if (is_result(whole) && whole.parent_path() == fs::weakly_canonical(output()))
        throw UsageError(fmt::format("{} would be replaced by the result; name another folder with -o", file));
    }
  }

  // Pictures of an earlier restoration, which the new grid does not show.
  void remove_earlier() const {
    for (const auto& entry : fs::directory_iterator(output())) {
      if (entry.is_regular_file() && is_result(entry.path())) fs::remove(entry.path());
    }
  }

  std::string operators() const {
    if (!own()) return arguments_.corruption;
    std::vector<std::string> ids;
    for (const PluginChoice& choice : pipeline().corruption) ids.push_back(choice.plugin->id());
    return join(ids, ", then ");
  }

  void print_table() const {
    fmt::print("{}\nunder {}, level {:g}{}, noise {:.4g}\n", what_, operators(), seen_.level, unit(), seen_.sigma);
    if (simulated()) {
      fmt::print("\n{:<25}{:>10}{:>9}{:>7}\n", "", "PSNR (dB)", "SSIM", "NFE");
      for (const Row& r : rows_) fmt::print("{:<25}{:>10.2f}{:>9.4f}{:>7}\n", r.label(), r.psnr, r.ssim, r.nfe);
      fmt::print("\n");
    }
    fmt::print("{}\n", grid().string());
  }

  void print_json() const {
    Json results = Json::array();
    for (const Row& r : rows_) {
      Json result = {{"method", r.name}, {"nfe", r.nfe}};
      if (!r.basis.empty()) result["basis"] = r.basis;
      if (simulated()) {
        // JSON has no infinity, which equal pictures have.
        result["psnr"] = std::isfinite(r.psnr) ? Json(r.psnr) : Json();
        result["ssim"] = r.ssim;
      }
      results.push_back(result);
    }
    fmt::print("{}\n", Json{{"images", seen_.y.size(0)},
                            {"what", what_},
                            {"corruption", operators()},
                            {"level", seen_.level},
                            {"noise", seen_.sigma},
                            {"steps", pipeline().sample.integer("steps")},
                            {"sampler", pipeline().sampler.plugin->id()},
                            {"results", results},
                            {"grid", grid().string()}}
                           .dump(1));
  }

  Session& session_;
  const RestoreArguments& arguments_;
  const FoundRun found_;
  const SampleShape shape_;
  const Model model_;
  const std::unique_ptr<TrainedModel> trained_;
  const uint64_t seed_;
  std::vector<std::string> methods_;
  Observation seen_;
  std::vector<ByteImage> clean_;
  std::string what_;
  std::vector<Row> rows_;
  size_t compared_ = 0;  // the rows before those of the methods
};

void require_quantity(const char* option, double value) {
  if (value >= 0 && std::isfinite(value)) return;
  throw UsageError(fmt::format("{} {:g} must be finite and not negative", option, value));
}

// What is asked for: files or held-out images, one of them.
void check_arguments(const RestoreArguments& arguments) {
  const bool files = !words_of(arguments, false).empty();
  if (files && arguments.held_out > 0) throw UsageError("give image files or --held-out, not both");
  if (!files && arguments.held_out <= 0) throw UsageError("what shall be restored? Give image files, or --held-out N");
  if (arguments.held_out > 0 && arguments.clean)
    throw UsageError("--clean is for image files: held-out images are clean by themselves");
  require_quantity("--noise", arguments.noise.value_or(0));
  require_quantity("--strength", arguments.strength);
  if (arguments.average < 1) throw UsageError(fmt::format("--average {} must be at least 1", arguments.average));
}

}  // namespace

int restore(Session& session, const RestoreArguments& arguments) {
  install_stop_handlers();
  check_arguments(arguments);
  try {
    FoundRun found = find_run(session, arguments.run, words_of(arguments, true));
    warn_of(warnings_of(found.pipeline));
    StoredCheckpoint checkpoint = checkpoint_of(found);
    return RestoreVerb(session, arguments, std::move(found), std::move(checkpoint)).execute();
  } catch (const Cancelled&) {
    throw Stopped("stopped before the images were restored; nothing was written");
  }
}

}  // namespace sdpipe
