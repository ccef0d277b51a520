#include "core/diffusion/assembly.hpp"

#include "core/data/images.hpp"
#include "core/host/gpu.hpp"

namespace sdpipe {

DataOptions data_options(const Pipeline& pipeline) {
  const Settings& data = pipeline.data;
  DataOptions options;
  options.type = data.text("type");
  options.path = data.text("path");
  options.split = data.text("split");
  options.channels = data.integer("channels");
  options.resize = data.integer("resize");
  options.flip = data.flag("flip");
  options.limit = data.integer("limit");
  options.held_out = data.integer("held_out");
  options.on_bad_file = data.text("on_bad_file");
  options.workers = data.integer("workers");
  if (pipeline.crop) {
    options.crop.size = pipeline.crop->size;
    if (const auto& center = pipeline.crop->center) options.crop.center = {(*center)[0], (*center)[1]};
  }
  return options;
}

SampleShape sample_shape(const ImageShape& shape) { return {shape.channels, shape.height, shape.width}; }

at::Device device_of(const Pipeline& pipeline) {
  const std::string& name = pipeline.run.text("device");
  const sdp_descriptor& model = *pipeline.model.plugin->descriptor;
  if (name == "auto" && pipeline.train && !(model.devices & SDP_ON_CUDA)) return at::kCPU;
  return device_named(name);
}

at::TensorOptions tensor_options(const Pipeline& pipeline) {
  return at::TensorOptions(pipeline.run.text("precision") == "float64" ? at::kDouble : at::kFloat)
      .device(device_of(pipeline));
}

bool narrows_parameters(const Pipeline& pipeline) { return pipeline.run.text("precision") == "bfloat16"; }

std::string parametrisation_of(const Pipeline& pipeline) {
  return pipeline.train ? pipeline.train->text("parametrisation") : "residual";
}

namespace {

void load_images(PluginChoice& choice) {
  for (Settings::Entry& entry : choice.settings.entries()) {
    auto* image = std::get_if<ImageSetting>(&entry.value);
    if (!image || !image->pixels.empty()) continue;
    FloatImage decoded = read_image(image->path);
    image->shape = sample_shape(decoded.shape);
    image->pixels = std::move(decoded.pixels);
  }
}

void select_into(const PluginChoice& choice, const CalibrationData& data, std::vector<double>* level,
                 std::vector<double>* sigma, const std::atomic<bool>* cancel) {
  located(choice, [&] {
    const Schedule schedule(*choice.plugin, choice.settings);
    schedule.select(data, path_points, level, sigma, cancel);
  });
}

}  // namespace

void load_image_parameters(Pipeline& pipeline) {
  for (PluginChoice& choice : pipeline.corruption) load_images(choice);
  load_images(pipeline.schedule);
  if (pipeline.noise) load_images(*pipeline.noise);
  load_images(pipeline.model);
  load_images(pipeline.sampler);
}

std::shared_ptr<const Corruption> make_corruption(const Pipeline& pipeline, const SampleShape& shape) {
  if (!pipeline.composed()) {
    const PluginChoice& only = pipeline.corruption.front();
    return located(only, [&] { return make_plugin_corruption(*only.plugin, only.settings, shape); });
  }
  std::vector<CorruptionPart> parts;
  for (const PluginChoice& choice : pipeline.corruption) {
    // Each is made once alone, so that a complaint is placed at its own table.
    located(choice, [&] { return make_plugin_corruption(*choice.plugin, choice.settings, shape); });
    parts.push_back({choice.plugin, &choice.settings, choice.from, choice.to});
  }
  return make_corruption(parts, shape);
}

Path select_path(const Pipeline& pipeline, const CalibrationData& data, const std::atomic<bool>* cancel) {
  std::vector<double> level, sigma;
  select_into(pipeline.schedule, data, &level, pipeline.noise ? nullptr : &sigma, cancel);
  if (pipeline.noise) select_into(*pipeline.noise, data, nullptr, &sigma, cancel);
  return Path(std::move(level), std::move(sigma));
}

PriorOptions prior_options(const Pipeline& pipeline) {
  const Settings& sample = pipeline.sample;
  return {sample.text("prior"), sample.text("basis"), static_cast<uint64_t>(sample.integer("seed")),
          sample.integer("prior_components")};
}

void require_images_for_prior(const Pipeline& pipeline, int64_t images) {
  if (pipeline.sample.text("prior") != "mixture") return;
  const int64_t components = pipeline.sample.integer("prior_components");
  const std::string why = too_few_for_mixture(images, components);
  if (why.empty()) return;
  const Settings::Entry* entry = pipeline.sample.find(components > 1 ? "prior_components" : "prior");
  throw UsageError(Problem{entry->where, why}.render());
}

Model make_model(const Pipeline& pipeline, const SampleShape& shape) {
  return located(pipeline.model, [&] { return Model(*pipeline.model.plugin, pipeline.model.settings, shape); });
}

Sampler make_sampler(const PluginChoice& choice) {
  return located(choice, [&] { return Sampler(*choice.plugin, choice.settings); });
}

}  // namespace sdpipe
