// Checked C++ faces of the four plugin kinds. Shapes, dtype and device are verified once, here at the border; outputs
// are allocated here and checked to be finite (always in debug builds, else every N-th call, see set_finite_check).
// Inputs that are not contiguous or not aligned to 64 bytes reach the plugin as copies. On a GPU, so do those of
// corruptions, samplers and fitted models that compute on the CPU alone; calibration data is in host memory always.
// Failures throw PluginFailure naming plugin, call and parameter. Samples are (batch, channel, height, width).
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "core/host/library.hpp"
#include "core/host/services.hpp"

namespace sdpipe {

// Check every n-th output of each instance for non-finite values; 1: each, 0: none. Default 1 in debug builds, else 64.
void set_finite_check(uint32_t n);

// Counts the outputs of one function of one instance: a count shared by several would, in a loop that calls them in
// turn, check the same one for ever.
class FiniteCheck {
 public:
  // Blames the plugin for a `y` that is not finite, unless its input `x` was not either.
  void require(const Plugin& plugin, std::string_view what, const at::Tensor& x, const at::Tensor& y) const;
  // Will the next `require` look at its tensors? For callers that must copy an `x` they overwrite.
  bool is_due() const;

 private:
  mutable std::atomic<uint32_t> calls_{0};
};

using SampleShape = std::vector<int64_t>;  // {channel, height, width}

// Where each sample of a batch stands on the path x_t = C(level) x_0 + sigma eps; see sdp_point.
struct Points {
  std::vector<double> t, level, sigma;
  std::vector<uint64_t> key;

  size_t size() const { return t.size(); }
  sdp_point view() const;  // borrows
  static Points copy_of(const sdp_point& point);
};

// A linear operator C(level, key) on one sample; C(0) = I.
class Corruption {
 public:
  virtual ~Corruption() = default;
  virtual double level_max() const = 0;
  virtual std::string level_unit() const = 0;
  // y[b] = C(at.level[b], at.key[b]) x[b]; x contiguous, float32 or float64.
  virtual at::Tensor apply(const Points& at, const at::Tensor& x) const = 0;
  // y[b] = C(at.level[b], at.key[b])^T x[b]
  virtual at::Tensor adjoint(const Points& at, const at::Tensor& x) const = 0;
};

std::unique_ptr<Corruption> make_plugin_corruption(const Plugin& plugin, const Settings& settings,
                                                   const SampleShape& sample);

// One operator of a composition, with the window of u in which it goes from 0 to its maximum.
struct CorruptionPart {
  const Plugin* plugin;
  const Settings* settings;
  double from = 0, to = 1;
};

// One part: the operator itself, in its own unit. Several: the composition C_n ... C_1 with level u in [0, 1]; operator
// i gets u's share of its own maximum and a key of its own, and the adjoint runs in reverse order.
std::unique_ptr<Corruption> make_corruption(std::span<const CorruptionPart> parts, const SampleShape& sample);

// Clean data and the corruption, for what is estimated rather than trained.
class CalibrationData {
 public:
  virtual ~CalibrationData() = default;
  virtual uint32_t n_batches() const = 0;
  virtual double level_max() const = 0;
  virtual at::Tensor batch(uint32_t k) const = 0;  // in host memory
  // Sample j of batch k always has the same key.
  virtual at::Tensor corrupt(uint32_t k, double level) const = 0;
};

// Chooses level(t) or sigma(t), or both, at n equally spaced times from 0 to 1.
class Schedule {
 public:
  Schedule(const Plugin& plugin, const Settings& settings);
  bool fills_level() const { return plugin_.has(SDP_CAP_FILLS_LEVEL); }
  bool fills_sigma() const { return plugin_.has(SDP_CAP_FILLS_SIGMA); }
  // n >= 2. Fills those of `level` and `sigma` that the plugin offers; the other may be empty. Refuses what is not
  // monotone, not finite, does not start at level 0, ends above level_max, or has a negative sigma.
  void select(const CalibrationData& data, uint32_t n, std::vector<double>* level, std::vector<double>* sigma,
              const std::atomic<bool>* cancel = nullptr) const;

 private:
  const Plugin& plugin_;
  std::shared_ptr<void> self_;
};

// Views of one set of parameters (raw, EMA or gradients), in the model's order.
class ParamSet {
 public:
  explicit ParamSet(std::vector<at::Tensor> tensors);
  const std::vector<at::Tensor>& tensors() const { return tensors_; }
  at::Device device() const { return tensors_.empty() ? at::Device(at::kCPU) : tensors_.front().device(); }
  // Equal version means equal values: call after every change of the values.
  void changed();
  sdp_params view() const;
  std::span<sdp_tensor* const> pointers() const { return pointers_; }

 private:
  std::vector<at::Tensor> tensors_;
  std::vector<std::unique_ptr<sdp::TensorView>> views_;
  std::vector<sdp_tensor*> pointers_;
  uint64_t version_;
};

struct ModelParamInfo {
  std::string name;
  std::vector<int64_t> shape;
  bool frozen = false, keep_f32 = false;
};

// One forward call: the parameters, where the samples stand, and what the plugin may ask of the host.
struct ModelCall {
  const ParamSet& params;
  const Points& at;
  CallScope scope = {};
  bool train = false;
};

class Model;

// What forward_saving kept for vjp; released with this object.
class SavedForward {
 public:
  SavedForward(SavedForward&& other) noexcept;
  SavedForward& operator=(SavedForward&&) = delete;
  ~SavedForward();

 private:
  friend class Model;
  explicit SavedForward(const Model& model) : model_(&model), kept_(std::make_unique<Kept>()) {}
  const Model* model_;
  void* saved_ = nullptr;
  bool live_ = false;
  std::unique_ptr<Kept> kept_;
};

// A pure function y = f(parameters, x, at); x0_hat = x + y, unless train.parametrisation wraps it in other maps.
class Model {
 public:
  Model(const Plugin& plugin, const Settings& settings, const SampleShape& sample);
  const std::vector<ModelParamInfo>& params() const { return params_; }
  // A model that offers fit() is estimated in closed form and never trained.
  bool is_fitted() const;
  bool offers(at::ScalarType dtype) const;
  // Where the parameters are in a run on `device`: a fitted model that computes on the CPU alone gets copies of
  // samples, and keeps its parameters in host memory.
  at::Device parameter_device(at::Device device) const;
  void init(const ParamSet& params, uint64_t seed) const;
  void fit(const ParamSet& params, const CalibrationData& data, const Corruption& corruption,
           const std::atomic<bool>* cancel = nullptr) const;
  at::Tensor forward(const ModelCall& call, const at::Tensor& x) const;
  std::pair<at::Tensor, SavedForward> forward_saving(const ModelCall& call, const at::Tensor& x) const;
  // Writes gy^T dy/dp into `gradients` (null: not wanted) and returns gy^T dy/dx (undefined unless `want_gx`).
  at::Tensor vjp(const ModelCall& call, const at::Tensor& x, SavedForward& saved, const at::Tensor& gy,
                 const ParamSet* gradients, bool want_gx, bool last = true) const;

 private:
  friend class SavedForward;
  void require_device(at::Device device) const;
  at::Tensor run_forward(const ModelCall& call, const at::Tensor& x, Kept* kept, void** saved) const;
  const Plugin& plugin_;
  SampleShape sample_;
  std::shared_ptr<void> self_;
  std::vector<ModelParamInfo> params_;
  FiniteCheck finite_;
  mutable std::mutex serial_;
};

// What a sampler sees of the trajectory.
class SamplerPath {
 public:
  virtual ~SamplerPath() = default;
  virtual const std::vector<double>& nodes() const = 0;  // times, increasing; the last is the start
  virtual at::Tensor denoise(double t, const at::Tensor& x) const = 0;
  virtual at::Tensor corrupt(double t, const at::Tensor& x) const = 0;
  virtual at::Tensor adjoint(double t, const at::Tensor& x) const = 0;
  virtual double sigma(double t) const = 0;
};

class Sampler {
 public:
  Sampler(const Plugin& plugin, const Settings& settings);

 private:
  friend class SamplerRun;
  const Plugin& plugin_;
  std::shared_ptr<void> self_;
};

// One trajectory of a batch: x advances in place from node to node.
class SamplerRun {
 public:
  SamplerRun(const Sampler& sampler, const SamplerPath& path, const RandomScope& random, at::Tensor x,
             const std::atomic<bool>* cancel = nullptr);
  ~SamplerRun();
  SamplerRun(const SamplerRun&) = delete;
  SamplerRun& operator=(const SamplerRun&) = delete;
  // From nodes()[k] to nodes()[k-1].
  void step(uint32_t k);
  at::Tensor x() const;

 private:
  sdp_ctx context(uint32_t k);
  const SamplerPath& path() const;
  const Sampler& sampler_;
  const SamplerPath& path_;
  RandomScope random_;
  at::Device device_;  // of the trajectory
  at::Tensor x_;       // where the plugin computes
  std::unique_ptr<SamplerPath> staged_path_;
  const std::atomic<bool>* cancel_;
  Kept kept_;
  FiniteCheck finite_;
  void* run_ = nullptr;
};

}  // namespace sdpipe
