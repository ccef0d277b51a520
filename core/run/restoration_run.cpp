#include "core/run/restoration_run.hpp"

#include <ATen/ops/stack.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <regex>

#include "core/base/files.hpp"
#include "core/base/log.hpp"
#include "core/base/text.hpp"
#include "core/config/warnings.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/evaluation/image_quality.hpp"
#include "core/evaluation/restored.hpp"
#include "core/run/found_run.hpp"
#include "core/run/manifest.hpp"
#include "core/run/observed.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;

constexpr int64_t grid_rows = 16;

class Restorer {
 public:
  Restorer(Workspace& workspace, const FoundRun& found, const RestorationRequest& request, StoredCheckpoint checkpoint)
      : workspace_(workspace),
        request_(request),
        found_(found),
        shape_(stored_shape(checkpoint)),
        model_(make_model(pipeline(), shape_)),
        trained_(load_trained(pipeline(), std::move(checkpoint), model_)),
        seed_(static_cast<uint64_t>(pipeline().sample.integer("seed"))) {
    choose_methods();
    choose_corruption();
  }

  Restoration execute() {
    require_writable(output());
    require_apart();
    look();
    compare();
    for (const std::string& method : methods_) rows_.push_back(restore(method));
    for (RestorationRow& row : rows_) measure(row);
    write();
    return {what_,
            operators(),
            seen_.corruption->level_unit(),
            seen_.level,
            seen_.sigma,
            pipeline().sampler.plugin->id(),
            pipeline().sample.integer("steps"),
            simulated(),
            std::move(rows_),
            grid()};
  }

 private:
  const Pipeline& pipeline() const { return found_.pipeline; }
  bool own() const { return request_.corruption.empty(); }
  bool simulated() const { return request_.clean || request_.held_out > 0; }
  fs::path output() const { return request_.output.empty() ? found_.folder / "restored" : request_.output; }
  fs::path grid() const { return output() / "grid.png"; }

  void choose_methods() {
    methods_ = restoration_methods();
    const std::string& asked = request_.method;
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
      with.corruption = parse_corruption(request_.corruption, workspace_.registry());
      load_image_parameters(with);
    }
    seen_.corruption = make_corruption(with, shape_);
    seen_.sigma = request_.noise.value_or(byte_noise);
    seen_.seed = seed_;
    const double largest = seen_.corruption->level_max();
    if (own() && !simulated() && !request_.level) {
      throw UsageError(
          fmt::format("at which level are the images corrupted? Give --level, from 0 to {:g}{}", largest, unit()));
    }
    seen_.level = request_.level.value_or(own() ? trained_->process->path().level(1) / 2 : largest);
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
    if (!request_.method.empty())
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
    if (request_.held_out > 0) {
      const auto source = held_out_images(pipeline(), shape_);
      if (request_.held_out > source->size()) {
        throw DataError(fmt::format("--held-out {}: there are {}", request_.held_out, source->describe()));
      }
      require_same_data(found_.folder, open_data(pipeline()));
      images = read_batch(*source, choose_images(source->size(), request_.held_out, seed_)).to(options);
      what_ = fmt::format("{} of {}", request_.held_out, source->describe());
    } else {
      std::vector<at::Tensor> pictures;
      for (const fs::path& file : request_.files) pictures.push_back(read_picture(file, shape_, options));
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

  RestorationRow restore(const std::string& method) {
    const int64_t count = seen_.y.size(0);
    Progress progress("restore by " + method, "images", 0, static_cast<uint64_t>(count), workspace_.progress());
    RestoreRequest request{method, request_.strength, request_.average, &workspace_.stop(),
                           [&](int64_t done) { progress.update(static_cast<uint64_t>(done)); }};
    const Restored restored = restore_images(pipeline(), model_, *trained_, seen_, request);
    progress.finish();
    return {method, to_byte_images(restored.x), restored.nfe};
  }

  void measure(RestorationRow& row) const {
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
      for (const RestorationRow& row : rows_) cells.push_back(row.images[i]);
    }
    write_png(grid(), make_grid(cells, static_cast<int64_t>(cells.size() / count)));
    if (request_.held_out > 0) return;
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
    for (const fs::path& file : request_.files) {
      const fs::path whole = fs::weakly_canonical(file);
      if (is_result(whole) && whole.parent_path() == fs::weakly_canonical(output()))
        throw UsageError(fmt::format("{} would be replaced by the result; name another folder with -o", file.string()));
    }
  }

  // Pictures of an earlier restoration, which the new grid does not show.
  void remove_earlier() const {
    for (const auto& entry : fs::directory_iterator(output())) {
      if (entry.is_regular_file() && is_result(entry.path())) fs::remove(entry.path());
    }
  }

  std::string operators() const {
    if (!own()) return request_.corruption;
    std::vector<std::string> ids;
    for (const PluginChoice& choice : pipeline().corruption) ids.push_back(choice.plugin->id());
    return join(ids, ", then ");
  }

  Workspace& workspace_;
  const RestorationRequest& request_;
  const FoundRun& found_;
  const SampleShape shape_;
  const Model model_;
  const std::unique_ptr<TrainedModel> trained_;
  const uint64_t seed_;
  std::vector<std::string> methods_;
  Observation seen_;
  std::vector<ByteImage> clean_;
  std::string what_;
  std::vector<RestorationRow> rows_;
  size_t compared_ = 0;  // the rows before those of the methods
};

void require_quantity(const char* option, double value) {
  if (value >= 0 && std::isfinite(value)) return;
  throw UsageError(fmt::format("{} {:g} must be finite and not negative", option, value));
}

// What is asked for: files or held-out images, one of them.
void check(const RestorationRequest& request) {
  const bool files = !request.files.empty();
  if (files && request.held_out > 0) throw UsageError("give image files or --held-out, not both");
  if (!files && request.held_out <= 0) throw UsageError("what shall be restored? Give image files, or --held-out N");
  if (request.held_out > 0 && request.clean)
    throw UsageError("--clean is for image files: held-out images are clean by themselves");
  require_quantity("--noise", request.noise.value_or(0));
  require_quantity("--strength", request.strength);
  if (request.average < 1) throw UsageError(fmt::format("--average {} must be at least 1", request.average));
}

}  // namespace

Restoration restore_run(Workspace& workspace, const fs::path& run, const std::vector<std::string>& overrides,
                        const RestorationRequest& request) {
  check(request);
  try {
    const FoundRun found = find_run(workspace, run, overrides);
    warn_of(warnings_of(found.pipeline));
    workspace.begin_computing(found.pipeline);
    return Restorer(workspace, found, request, checkpoint_of(found)).execute();
  } catch (const Cancelled&) {
    throw Stopped("stopped before the images were restored; nothing was written");
  }
}

}  // namespace sdpipe
