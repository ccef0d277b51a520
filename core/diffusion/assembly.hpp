// From a validated pipeline to objects: the data set, C_t, the path and the model.
#pragma once

#include "core/config/pipeline.hpp"
#include "core/diffusion/calibration.hpp"
#include "core/diffusion/prior.hpp"
#include "core/diffusion/process.hpp"

namespace sdpipe {

inline constexpr int64_t calibration_images = 4096, calibration_batch = 256;

// Runs f; a plugin's complaint about a parameter becomes a UsageError at that parameter's place in the pipeline file.
template <class F>
auto located(const PluginChoice& choice, F&& f) -> decltype(f()) {
  try {
    return f();
  } catch (const PluginFailure& failure) {
    if (failure.param.empty()) throw;
    throw UsageError(Problem{position_of(choice, failure.param), failure.what()}.render());
  }
}

DataOptions data_options(const Pipeline& pipeline);
SampleShape sample_shape(const ImageShape& shape);
// dtype and device of the run.
at::TensorOptions tensor_options(const Pipeline& pipeline);
// What run.device means on this machine; "auto" is the CPU where the trained model computes there alone. Throws
// RunError where there is no such GPU.
at::Device device_of(const Pipeline& pipeline);
// Does the model compute with parameters rounded to bfloat16? Everything else stays as tensor_options says.
bool narrows_parameters(const Pipeline& pipeline);
// train.parametrisation; "residual" where nothing is trained.
std::string parametrisation_of(const Pipeline& pipeline);

// Image parameters of every plugin table are decoded here, once. Throws DataError naming the file.
void load_image_parameters(Pipeline& pipeline);

std::shared_ptr<const Corruption> make_corruption(const Pipeline& pipeline, const SampleShape& shape);
Path select_path(const Pipeline& pipeline, const CalibrationData& data, const std::atomic<bool>* cancel = nullptr);
PriorOptions prior_options(const Pipeline& pipeline);
// Throws UsageError at the key of [sample] that asks for a prior which cannot be fitted to so few images.
void require_images_for_prior(const Pipeline& pipeline, int64_t images);
Model make_model(const Pipeline& pipeline, const SampleShape& shape);
Sampler make_sampler(const PluginChoice& choice);

}  // namespace sdpipe
