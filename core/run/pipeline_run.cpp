#include "core/run/pipeline_run.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/base/json.hpp"
#include "core/base/log.hpp"
#include "core/config/resolved.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/report/run_report.hpp"
#include "core/run/manifest.hpp"

namespace sdpipe {
namespace {

namespace fs = std::filesystem;

constexpr int64_t compared_images = 32;  // under every sampler, in the report
constexpr int64_t followed_images = 6;   // along the path, in the report

class PipelineStage {
 public:
  PipelineStage(Workspace& workspace, const Experiment& single, const OpenedData& data, const RunFolder& folder)
      : workspace_(workspace),
        pipeline_(single.base),
        is_compared_(!single.grids.empty()),
        data_(data),
        folder_(folder),
        source_(data.source),
        model_(make_model(pipeline_, sample_shape(source_->shape()))) {
    require_images_for_prior(pipeline_, source_->size());
  }

  void execute() {
    const Json manifest = manifest_of(workspace_, pipeline_, data_);
    require_same_data(folder_.path(), data_);
    warn_of_other_builds(folder_.path(), manifest);
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
    const Json manifest = manifest_of(workspace_, pipeline_, data_);
    TrainingLoop(pipeline_, source_, model_, folder_).begin_with(weights, workspace_.stop());
    update_file(folder_.manifest_file(), manifest.dump(1) + "\n");
  }

 private:
  const TrainedModel& train(TrainingLoop& loop) {
    const uint64_t total = pipeline_.train ? static_cast<uint64_t>(pipeline_.train->integer("images")) : 0;
    std::unique_ptr<Progress> progress;
    const auto show = [&](const TrainingProgress& p) {
      if (!progress)
        progress = std::make_unique<Progress>("train", "images", static_cast<uint64_t>(p.images), total,
                                              workspace_.progress());
      progress->update(static_cast<uint64_t>(p.images), fmt::format("loss {:.4g}", p.loss));
      if (p.images >= p.total_images) progress->finish(fmt::format("loss {:.4g}", p.loss));
    };
    return loop.run(workspace_.stop(), show);
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
                      workspace_.progress());
    SampleRequest request{count, &workspace_.stop(),
                          [&](int64_t done) { progress.update(static_cast<uint64_t>(done)); }};
    SampleSet set = draw_samples(pipeline_, model_, trained, sampler, request);
    progress.finish();
    return set;
  }

  // The pipeline's sampler with its parameters, every other with its defaults.
  std::vector<PluginChoice> samplers() const {
    std::vector<PluginChoice> choices = {pipeline_.sampler};
    for (const Plugin& plugin : workspace_.registry().plugins()) {
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
                         &workspace_.stop(), pipeline_.data.flag("flip"))};
    write_file(folder_.report_file(), render_report(report));
    write_file(marker(), picture_facts(trained).dump() + "\n");
  }

  std::string describe_data() const {
    const size_t skipped = source_->skipped().size();
    return skipped == 0 ? source_->describe()
                        : fmt::format("{}; {} of them cannot be read and were skipped", source_->describe(), skipped);
  }

  uint64_t seed() const { return static_cast<uint64_t>(pipeline_.run.integer("seed")); }

  Workspace& workspace_;
  const Pipeline& pipeline_;
  bool is_compared_;  // an ablation's report will stand beside the run's
  const OpenedData& data_;
  const RunFolder& folder_;
  std::shared_ptr<const Source> source_;
  Model model_;
};

}  // namespace

void run_pipeline(Workspace& workspace, const Experiment& single, const OpenedData& data, const RunFolder& folder) {
  workspace.use(single.base);
  PipelineStage stage(workspace, single, data, folder);
  update_file(folder.resolved_file(), to_toml(single));
  stage.execute();
}

void begin_pipeline(Workspace& workspace, const Experiment& single, const OpenedData& data, const RunFolder& folder,
                    const NamedTensors& weights) {
  workspace.use(single.base);
  PipelineStage(workspace, single, data, folder).begin_with(weights);
  update_file(folder.resolved_file(), to_toml(single));
}

}  // namespace sdpipe
