// Restored images out of a trained model, in batches, and how good they are.
#pragma once

#include "core/diffusion/linear_estimate.hpp"
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

// What needs no network, in batches: A^T (A A^T + sigma_y^2 I)^-1 y, as restoration.hpp has it, and the best linear
// estimate, as linear_estimate.hpp has it.
at::Tensor pseudo_inverses(const Observation& seen, int64_t batch);
at::Tensor linear_estimates(const Observation& seen, const GaussianLaw& law, int64_t batch);

// The side of the blocks of which y shows only the mean, found by what A makes of a probe: as `downsample` alone at its
// largest level. At a lower one a share of every pixel is left, which no enlargement uses. None where one block is the
// whole image.
std::optional<int64_t> side_of_blocks(const Observation& seen);
// The means of y's blocks, enlarged by the cubic filter of Keys (1981) with a = -1/2, Pillow's and Matlab's bicubic;
// where blocks are cut at the right and lower edge, as if they were whole.
at::Tensor enlarged_blocks(const at::Tensor& y, int64_t side);

}  // namespace sdpipe
