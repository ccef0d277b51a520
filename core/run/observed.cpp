#include "core/run/observed.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>

#include "core/config/document.hpp"
#include "core/config/plugin_tables.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/diffusion/restoration.hpp"

namespace sdpipe {

namespace fs = std::filesystem;

std::vector<PluginChoice> parse_corruption(const std::string& text, const Registry& registry) {
  std::vector<Problem> problems;
  const auto source = std::make_shared<const SourceText>(SourceText{"<--corruption>", {text}});
  std::vector<PluginChoice> choices;
  if (const auto value = parse_argument_value(text, source, 1, problems))
    choices = PluginTables(registry, fs::current_path(), problems).corruption(*value);
  if (!problems.empty()) throw PipelineErrors(std::move(problems), "--corruption");
  return choices;
}

at::Tensor read_picture(const fs::path& file, const SampleShape& shape, const at::TensorOptions& options) {
  FloatImage image = read_image(file, shape[0]);
  if (sample_shape(image.shape) != shape) {
    throw DataError(fmt::format("\"{}\" is {}, but the run's images are {} (channels x height x width)", file.string(),
                                to_text(image.shape), to_text({shape[0], shape[1], shape[2]})));
  }
  return at::from_blob(image.pixels.data(), shape, at::TensorOptions(at::kFloat)).to(options).mul(2).sub(1);
}

bool depends_on_key(const std::shared_ptr<const Corruption>& corruption, double level, const SampleShape& shape,
                    const at::TensorOptions& options) {
  constexpr uint64_t n = 16;
  const std::vector<uint64_t> same(n);
  std::vector<uint64_t> keys;
  for (uint64_t i = 0; i < n; ++i) keys.push_back(key_of(0, i));
  SampleShape batch = shape;
  batch.insert(batch.begin(), static_cast<int64_t>(n));
  const at::Tensor x = normal_like(at::empty(batch, options), 0, Purpose::restoration, same, 0);
  const at::Tensor y = Measurement(corruption, level, std::move(keys), 0).apply(x);
  return (y - y.slice(0, 0, 1)).abs().max().item<double>() > 1e-4;  // more than rounding, of values of about 1
}

std::unique_ptr<Source> held_out_images(const Pipeline& pipeline, const SampleShape& shape) {
  DataOptions options = data_options(pipeline);
  const bool folder = options.type == "folder";
  if (!folder && fs::is_regular_file(options.path)) {
    throw DataError(
        fmt::format("data.path = \"{}\" is one file, and which the held-out images are is not known; train "
                    "with the folder that holds it, or restore files with --clean",
                    options.path.string()));
  }
  if (folder && options.held_out == 0) {
    throw DataError(
        fmt::format("the run holds no images out: it was trained on all of \"{}\"; train with data.held_out "
                    "= N, or restore other files with --clean",
                    options.path.string()));
  }
  options.split = options.split == "train" ? "test" : "train";
  options.limit = 0;
  if (folder) options.channels = shape[0];
  return open_source(options);
}

}  // namespace sdpipe
