#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>

#include "core/base/json.hpp"
#include "core/base/log.hpp"
#include "core/cli/signals.hpp"
#include "core/cli/stages.hpp"
#include "core/config/resolved.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/report/run_report.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;

constexpr int64_t compared_images = 32;  // under every sampler, in the report
constexpr int64_t followed_images = 6;   // along the path, in the report

Json plugin_facts(const PluginChoice& choice) {
  const Plugin& p = *choice.plugin;
  return {{"id", p.id()},
          {"kind", kind_name(p.kind())},
          {"version", p.descriptor->version},
          {"file", p.file.string()},
          {"sha256", sha256_of_file(p.file)}};
}

Json manifest_of(const Session& session, const Pipeline& pipeline, const OpenedData& data) {
  Json plugins = Json::array();
  for (const PluginChoice& choice : pipeline.corruption) plugins.push_back(plugin_facts(choice));
  plugins.push_back(plugin_facts(pipeline.schedule));
  if (pipeline.noise) plugins.push_back(plugin_facts(*pipeline.noise));
  plugins.push_back(plugin_facts(pipeline.model));
  plugins.push_back(plugin_facts(pipeline.sampler));
  return {{"sdpipe", SDPIPE_VERSION},
          {"command_line", session.command_line},
          {"seed", pipeline.run.integer("seed")},
          {"threads", at::get_num_threads()},
          {"device", pipeline.run.text("device")},
          {"data", data.source->describe()},
          {"data_sha256", data.sha256},
          {"plugins", plugins}};
}

// As a string: whether a Json compares with one depends on the library's version.
std::string text_of(const Json& object, const char* key) { return object.value(key, ""); }

// What the run in `folder` was begun with; empty where there is none yet.
Json manifest_before(const fs::path& folder) {
  const fs::path file = folder / "manifest.json";
  if (!fs::exists(file) || !fs::exists(folder / "checkpoints")) return Json::object();
  const Json before = Json::parse(read_file(file), nullptr, false);
  return before.is_object() ? before : Json::object();
}

// Another build or plugin may change bits of a run that goes on, which is said.
void warn_of_other_surroundings(const RunFolder& folder, const Json& now) {
  const Json before = manifest_before(folder.path());
  if (before.empty()) return;
  const Json& old_plugins = before.value("plugins", Json::array());
  for (const Json& plugin : now["plugins"]) {
    const auto same = [&](const Json& p) {
      return text_of(p, "kind") == text_of(plugin, "kind") && text_of(p, "id") == text_of(plugin, "id");
    };
    const auto old = std::find_if(old_plugins.begin(), old_plugins.end(), same);
    if (old == old_plugins.end() || text_of(*old, "sha256") == text_of(plugin, "sha256")) continue;
    log_warning(
        fmt::format("plugin \"{}\" is another build than the one that began {}: the rest of the run is valid, but may "
                    "not be bit for bit the same",
                    text_of(plugin, "id"), folder.path().string()));
  }
  if (text_of(before, "sdpipe") != text_of(now, "sdpipe"))
    log_warning(fmt::format("{} was begun by sdpipe {}", folder.path().string(), before.value("sdpipe", "")));
}

class PipelineStage {
 public:
  PipelineStage(Session& session, const Experiment& single, const OpenedData& data, const RunFolder& folder)
      : session_(session),
        pipeline_(single.base),
        is_compared_(!single.grids.empty()),
        data_(data),
        folder_(folder),
        source_(data.source),
        model_(make_model(pipeline_, sample_shape(source_->shape()))) {
    require_images_for_prior(pipeline_, source_->size());
  }

  void execute() {
    const Json manifest = manifest_of(session_, pipeline_, data_);
    require_same_data(folder_.path(), data_);
    warn_of_other_surroundings(folder_, manifest);
    TrainingLoop loop(pipeline_, source_, model_, folder_);
    if (!pictures_may_be_current()) update_file(folder_.manifest_file(), manifest.dump(1) + "\n");
    const TrainedModel& trained = train(loop);
    if (pictures_are_current(trained)) {
      log_info(fmt::format("nothing to do: {} is complete", folder_.path().string()));
      return;
    }
    draw_pictures(trained);
  }

  // The checkpoint first: a folder without one would be trained from the start.
  void begin_with(const NamedTensors& weights) {
    const Json manifest = manifest_of(session_, pipeline_, data_);
    TrainingLoop(pipeline_, source_, model_, folder_).begin_with(weights, stop_requested());
    update_file(folder_.manifest_file(), manifest.dump(1) + "\n");
  }

 private:
  const TrainedModel& train(TrainingLoop& loop) {
    const uint64_t total = pipeline_.train ? static_cast<uint64_t>(pipeline_.train->integer("images")) : 0;
    std::unique_ptr<Progress> progress;
    const auto show = [&](const TrainingProgress& p) {
      if (!progress)
        progress =
            std::make_unique<Progress>("train", "images", static_cast<uint64_t>(p.images), total, session_.progress());
      progress->update(static_cast<uint64_t>(p.images), fmt::format("loss {:.4g}", p.loss));
      if (p.images >= p.total_images) progress->finish(fmt::format("loss {:.4g}", p.loss));
    };
    return loop.run(stop_requested(), show);
  }

  fs::path marker() const { return folder_.samples() / "samples.json"; }

  // What the pictures depend on, beside the run itself.
  Json picture_facts(const TrainedModel& trained) const {
    Json facts = {{"images", trained.state.images}, {"settings_sha256", sha256(as_bytes(to_toml(pipeline_)))}};
    if (is_compared_) facts["compared"] = true;
    return facts;
  }

  bool pictures_may_be_current() const { return fs::exists(marker()) && fs::exists(folder_.report_file()); }

  bool pictures_are_current(const TrainedModel& trained) const {
    if (!pictures_may_be_current()) return false;
    return Json::parse(read_file(marker()), nullptr, false) == picture_facts(trained);
  }

  SampleSet draw(const TrainedModel& trained, const PluginChoice& sampler, int64_t count) {
    Progress progress(fmt::format("sample {}", sampler.plugin->id()), "images", 0, static_cast<uint64_t>(count),
                      session_.progress());
    SampleRequest request{count, &stop_requested(),
                          [&](int64_t done) { progress.update(static_cast<uint64_t>(done)); }};
    SampleSet set = draw_samples(pipeline_, model_, trained, sampler, request);
    progress.finish();
    return set;
  }

  // The pipeline's sampler with its parameters, every other with its defaults.
  std::vector<PluginChoice> samplers() const {
    std::vector<PluginChoice> choices = {pipeline_.sampler};
    for (const Plugin& plugin : session_.registry().plugins()) {
      if (plugin.kind() != SDP_KIND_SAMPLER || plugin.id() == pipeline_.sampler.plugin->id()) continue;
      const bool required =
          std::any_of(plugin.schema.begin(), plugin.schema.end(), [](const Param& p) { return !p.def; });
      if (!required) choices.push_back({&plugin, default_settings(plugin.schema), {}});
    }
    return choices;
  }

  void draw_pictures(const TrainedModel& trained) {
    fs::create_directories(folder_.samples());
    fs::remove(marker());
    const SamplerGrid chosen{pipeline_.sampler.plugin->id(),
                             draw(trained, pipeline_.sampler, pipeline_.sample.integer("count"))};
    write_sample_files(folder_.samples(), chosen.samples.images);
    std::vector<SamplerGrid> grids;
    for (const PluginChoice& choice : samplers()) {
      try {
        grids.push_back({choice.plugin->id(), draw(trained, choice, compared_images)});
      } catch (const PluginFailure& e) {  // one that the pipeline did not ask for must not cost the run its report
        log_warning(fmt::format("left out of the comparison in the report: {}", e.what()));
      }
    }
    const std::vector<int64_t> followed = choose_images(source_->size(), followed_images, seed() + 1);
    const std::vector<double> times = {0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0};
    const at::Tensor x_0 = read_batch(*source_, followed).to(tensor_options(pipeline_));
    const RunReport report{
        pipeline_,
        trained,
        chosen,
        grids,
        along_path(model_, trained, x_0, times, seed()),
        describe_prior(pipeline_, trained),
        describe_data(),
        folder_.metrics_file(),
        folder_.timing_file(),
        to_toml(pipeline_),
        is_compared_,
        nearest_training(*source_, chosen.samples.images,
                         prior_sources(pipeline_, trained, *source_, std::ssize(chosen.samples.images)),
                         &stop_requested(), pipeline_.data.flag("flip"))};
    write_file(folder_.report_file(), render_report(report));
    write_file(marker(), picture_facts(trained).dump() + "\n");
  }

  std::string describe_data() const {
    const size_t skipped = source_->skipped().size();
    return skipped == 0 ? source_->describe()
                        : fmt::format("{}; {} of them cannot be read and were skipped", source_->describe(), skipped);
  }

  uint64_t seed() const { return static_cast<uint64_t>(pipeline_.run.integer("seed")); }

  Session& session_;
  const Pipeline& pipeline_;
  bool is_compared_;  // an ablation's report will stand beside the run's
  const OpenedData& data_;
  const RunFolder& folder_;
  std::shared_ptr<const Source> source_;
  Model model_;
};

}  // namespace

OpenedData open_data(const Pipeline& pipeline) {
  std::shared_ptr<const Source> source = open_source(data_options(pipeline));
  return {source, source->content_hash()};
}

void require_same_data(const fs::path& folder, const OpenedData& data) {
  const Json before = manifest_before(folder);
  if (before.empty() || text_of(before, "data_sha256") == data.sha256) return;
  throw DataError(fmt::format(
      "the data is not what {} began with (then: {}); put it back, or move the run aside with `sdpipe run --fresh`",
      folder.string(), text_of(before, "data")));
}

void run_pipeline(Session& session, const Experiment& single, const OpenedData& data, const RunFolder& folder) {
  session.use(single.base);
  PipelineStage stage(session, single, data, folder);
  update_file(folder.resolved_file(), to_toml(single));
  stage.execute();
}

void begin_pipeline(Session& session, const Experiment& single, const OpenedData& data, const RunFolder& folder,
                    const NamedTensors& weights) {
  session.use(single.base);
  PipelineStage(session, single, data, folder).begin_with(weights);
  update_file(folder.resolved_file(), to_toml(single));
}

}  // namespace sdpipe
