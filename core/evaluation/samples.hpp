// Pictures out of a trained model: samples, the way of an image along the path, and what the model believes on the way.
#pragma once

#include <functional>

#include "core/data/images.hpp"
#include "core/diffusion/trajectory.hpp"
#include "core/training/loop.hpp"

namespace sdpipe {

// (n, channel, height, width) in [-1, 1] to bytes; what lies outside is clamped.
std::vector<ByteImage> to_byte_images(const at::Tensor& x);

struct SampleSet {
  std::vector<ByteImage> images;
  int64_t nfe = 0;  // evaluations of the network for one image; the mean where a sampler chooses them by batch
};

struct SampleRequest {
  int64_t count = 0;
  const std::atomic<bool>* cancel = nullptr;
  std::function<void(int64_t images_done)> progress;  // in fractions of images, rounded down
};

// Samples 0 ... count - 1 with the pipeline's [sample] and the averaged weights: the same seeds give the same starts
// and keys under every sampler, so that samplers can be compared image by image. Throws PluginFailure where a
// trajectory diverged: what is not finite has no picture.
SampleSet draw_samples(const Pipeline& pipeline, const Model& model, const TrainedModel& trained,
                       const PluginChoice& sampler, const SampleRequest& request);

// sample-0000.png ... and grid.png. Files of an earlier, longer set go.
void write_sample_files(const std::filesystem::path& folder, const std::vector<ByteImage>& images);

// Throws PluginFailure naming the sampler and the images first ... first + n - 1 where x (n, ...) is not finite all
// over.
void require_finite(const at::Tensor& x, const PluginChoice& sampler, int64_t first);

// The prior of [sample], over the statistics that the model keeps. Borrows from `trained`.
Prior make_prior(const Pipeline& pipeline, const TrainedModel& trained);
std::string describe_prior(const Pipeline& pipeline, const TrainedModel& trained);

// The training images that the trajectories of samples 0 ... count - 1 start from, as indices of `source`, the data of
// the training; empty where the prior is not the empirical one.
std::vector<int64_t> prior_sources(const Pipeline& pipeline, const TrainedModel& trained, const Source& source,
                                   int64_t count);

// Evaluations of the network that a sampler needs for `steps`; found by running it on one pixel.
int64_t count_nfe(const PluginChoice& sampler, int64_t steps);

// Row by row one image, column by column one t: x_t as the network sees it, or x0_hat = E[x_0 | x_t].
struct AlongPath {
  std::vector<double> times;
  std::vector<std::vector<ByteImage>> x_t, x0_hat;
};
AlongPath along_path(const Model& model, const TrainedModel& trained, const at::Tensor& x_0,
                     const std::vector<double>& times, uint64_t seed);

}  // namespace sdpipe
