// Training: batches in, checkpoints out. The whole state is the parameters, their average, Adam's moments and a few
// counters, so a resumed run equals an uninterrupted one bit for bit (same build, device, threads and accumulate).
#pragma once

#include <functional>

#include "core/config/pipeline.hpp"
#include "core/data/loader.hpp"
#include "core/diffusion/objective.hpp"
#include "core/diffusion/trajectory.hpp"
#include "core/training/optimizer.hpp"
#include "core/training/parameters.hpp"
#include "core/training/run_folder.hpp"

namespace sdpipe {

// Counters of a training; state.json of a checkpoint.
struct TrainingState {
  int64_t step = 0;     // optimiser steps taken, those skipped included
  int64_t updates = 0;  // steps that changed the parameters
  int64_t images = 0;   // images seen
  LoaderState loader;
  double window_loss = 0;  // sum over the steps since the last line of metrics.jsonl
  int64_t window_steps = 0;
  int64_t failures = 0;  // steps in a row that were not finite
  int threads = 0;       // of the process that wrote it; results depend on it
  std::string device;    // likewise: "the CPU", or which GPU
};

struct TrainingProgress {
  int64_t images = 0, total_images = 0;
  double loss = 0;  // mean of the last window
};

// What samples are drawn with, as checkpoints hold it. Of a fitted model `ema` are the weights themselves.
struct TrainedModel {
  std::shared_ptr<const Process> process;
  PriorStatistics prior;
  Layout layout;
  FlatParameters ema;
  TrainingState state;
  Parametrisation parametrisation = {};

  // With the averaged weights; borrows this and the model.
  Denoiser denoiser(const Model& model) const { return {model, ema.for_model(), *process, parametrisation}; }
};

// The loss of one step, or part of one, that has been drawn, and its gradient for every trained parameter, which is
// written into `gradients`. `call` is that of the training: with the raw weights, at the points of the draw.
Loss loss_with_gradients(const Model& model, const ModelCall& call, const Process& process,
                         const Parametrisation& parametrisation, const Objective& objective, const TrainingDraw& draw,
                         const at::Tensor& x_0, const ParamSet& gradients);

class TrainingLoop {
 public:
  TrainingLoop(const Pipeline& pipeline, std::shared_ptr<const Source> source, const Model& model,
               const RunFolder& folder);

  // Continues from the folder's newest checkpoint, or begins: estimates schedule and prior, initialises or fits the
  // model. Ends at train.images, or with Stopped after saving where `stop` became true.
  TrainedModel& run(const std::atomic<bool>& stop, const std::function<void(const TrainingProgress&)>& progress);
  // Begins with weights that the model has already been checked to have, raw and averaged alike, and saves them as the
  // checkpoint at 0 images, from which `run` continues.
  void begin_with(const NamedTensors& weights, const std::atomic<bool>& stop);

 private:
  void begin(const std::atomic<bool>& stop, const NamedTensors* weights = nullptr);
  std::optional<MixtureStart> fit_start(const PriorStatistics& prior, const Process& process,
                                        const std::atomic<bool>& stop) const;
  void require_samplable() const;
  void resume(StoredCheckpoint checkpoint);
  void load_moments(const StoredCheckpoint& checkpoint);
  bool adapts_times() const;
  void train(const std::atomic<bool>& stop, const std::function<void(const TrainingProgress&)>& progress);
  double step(const Objective& objective, const Batch& batch);
  struct Part;  // of a batch
  Part part(const Objective& objective, const Batch& batch, int64_t k, FlatParameters& gradients) const;
  bool survives(double loss, double gradient_norm);
  void rewind();
  void log_window(double loss, double gradient_norm, double lr);
  void save() const;
  int64_t checkpoint_every() const;

  const Pipeline& pipeline_;
  std::shared_ptr<const Source> source_;
  const Model& model_;
  const RunFolder& folder_;
  CheckpointStore store_;
  uint64_t seed_;
  std::unique_ptr<TrainedModel> trained_;
  std::unique_ptr<FlatParameters> params_, gradients_;  // where something is trained
  std::unique_ptr<FlatParameters> part_gradients_;      // of one part of a batch, with train.accumulate
  Moments moments_;
  LossHistogram losses_;  // of train.times = importance; saved beside the moments
  OptimizerOptions optimizer_;
};

// The shape of the samples that a checkpoint's model was made for.
SampleShape stored_shape(const StoredCheckpoint& checkpoint);

// For sampling. The checkpoint's files, as large as the weights, go when it returns, if they were moved in. Throws
// CheckpointError.
std::unique_ptr<TrainedModel> load_trained(const Pipeline& pipeline, StoredCheckpoint checkpoint, const Model& model);

}  // namespace sdpipe
