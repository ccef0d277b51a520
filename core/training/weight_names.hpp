// Tensors of other programs under the names and shapes of our networks. Strict: what is missing, not of the model, of
// another shape, not finite or too large for the run is listed whole. What is done to names and values is said, each in
// a sentence.
//
//   module.NAME, _orig_mod.NAME             -> NAME: DataParallel and torch.compile put these before every name
//   query, key, value, proj_attn            -> to_q, to_k, to_v, to_out.0: attention in diffusers before 0.15
//   sigmas                                  left out: score_sde's network makes them of its settings, as ours does;
//                                           they must be those of the model's own settings
#pragma once

#include <string>
#include <vector>

#include "core/diffusion/prior.hpp"
#include "core/host/operators.hpp"
#include "core/host/schema.hpp"
#include "core/training/weight_source.hpp"

namespace sdpipe {

// Whose names these are.
struct NamingScheme {
  std::string source;  // "guided-diffusion's UNet", for people
  std::string type;    // of [model]: the plugin that has these names
  std::string also;    // what else [model] needs for some of these networks; may be empty
  bool diffusers = false;
};
// Nothing known: all empty.
NamingScheme recognise(const std::vector<StoredTensor>& tensors);

struct FittedWeights {
  NamedTensors tensors;            // one for each of the model's parameters, in its shape, as the run holds them
  std::vector<std::string> notes;  // what was done, a sentence each
  std::string dtypes;              // "F16", of those tensors in the file
};

// `settings`: of the model; `options`: of the run's tensors. Throws CheckpointError with everything that does not fit;
// `model` stands for it there.
FittedWeights fit_weights(const WeightSource& source, const std::vector<ModelParamInfo>& params,
                          const Settings& settings, const at::TensorOptions& options, const std::string& model);

// "F32" or "F16 and F32".
std::string dtypes_of(const std::vector<StoredTensor>& tensors);
// "[64, 3, 3, 3]".
std::string shape_text(const std::vector<int64_t>& shape);

}  // namespace sdpipe
