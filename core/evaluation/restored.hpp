// Restored images out of a trained model, in batches, and how good they are.
#pragma once

#include "core/diffusion/restoration.hpp"
#include "core/evaluation/samples.hpp"

namespace sdpipe {

// What was seen of a number of images.
struct Observation {
  at::Tensor y;  // (n, channel, height, width)
  std::shared_ptr<const Corruption> corruption;
  double level = 0, sigma = 0;
  uint64_t seed = 0;  // image i has the key key_of(seed, i)

  // Images first ... first + n - 1.
  Measurement measurement(int64_t first, int64_t n) const;
};

// y = A x_0 + sigma n.
Observation observe(const at::Tensor& x_0, std::shared_ptr<const Corruption> corruption, double level, double sigma,
                    uint64_t seed);

// The ways there are, in the order in which tables show them.
const std::vector<std::string>& restoration_methods();  // "reverse", "projection", "guidance"

struct RestoreRequest {
  std::string method;
  double strength = 1;  // of the guidance
  int64_t average = 1;  // samples an image, of which the mean is returned
  const std::atomic<bool>* cancel = nullptr;
  std::function<void(int64_t images_done)> progress;
};

struct Restored {
  at::Tensor x;     // as y
  int64_t nfe = 0;  // evaluations of the network for one image; guidance has a vjp for each besides
};

// With the pipeline's [sampler] and [sample] and the averaged weights. Image i has the same start and noise under every
// method of posterior sampling. Throws PluginFailure where a trajectory diverged.
Restored restore_images(const Pipeline& pipeline, const Model& model, const TrainedModel& trained,
                        const Observation& seen, const RestoreRequest& request);

// A^T (A A^T + sigma_y^2 I)^-1 y, as restoration.hpp has it.
at::Tensor pseudo_inverses(const Observation& seen, int64_t batch);

}  // namespace sdpipe
