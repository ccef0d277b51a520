#include "core/config/tables.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace sdpipe {
namespace {

// Parameters of the host's tables, written like a table in the manual: key, default, range, unit, sentence.
struct Bounds {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool exclusive_min = false, exclusive_max = false;
};
constexpr double kOpen = std::numeric_limits<double>::infinity();
constexpr Bounds kAny{};
constexpr Bounds kFrom0{0, kOpen};
constexpr Bounds kFrom1{1, kOpen};
constexpr Bounds kAbove0{0, kOpen, true};
constexpr Bounds kFrom0Below1{0, 1, false, true};

Param param(const char* key, ParamType type, Bounds bounds, const char* unit, std::optional<Setting> def,
            const char* doc) {
  Param p;
  p.key = key;
  p.doc = doc;
  p.unit = unit;
  p.type = type;
  p.min = bounds.min;
  p.max = bounds.max;
  p.exclusive_min = bounds.exclusive_min;
  p.exclusive_max = bounds.exclusive_max;
  p.def = std::move(def);
  return p;
}

Param integer(const char* key, int64_t def, Bounds bounds, const char* unit, const char* doc) {
  return param(key, ParamType::integer, bounds, unit, def, doc);
}
Param real(const char* key, double def, Bounds bounds, const char* unit, const char* doc) {
  return param(key, ParamType::real, bounds, unit, def, doc);
}
Param flag(const char* key, bool def, const char* doc) { return param(key, ParamType::boolean, kAny, "", def, doc); }
Param choice(const char* key, std::vector<std::string> choices, const char* doc) {
  Param p = param(key, ParamType::choice, kAny, "", choices.front(), doc);
  p.choices = std::move(choices);
  return p;
}
Param required(Param p) {
  p.def.reset();
  return p;
}
Param text(const char* key, const char* def, const char* doc) {
  return param(key, ParamType::string, kAny, "", std::string(def), doc);
}

}  // namespace

const Schema& run_schema() {
  static const Schema schema = {
      text("name", "", "Name of the run's folder; the file's name without its ending where none is given"),
      integer("seed", 0, kFrom0, "", "Seed of everything that is random in the run"),
      integer("threads", 0, kFrom0, "", "Threads of the CPU; 0 means OMP_NUM_THREADS, or one for each core"),
      text("device", "auto",
           "Where the run computes: cpu; cuda, the first GPU; cuda:N, GPU number N from 0; auto, the first GPU where "
           "there is one"),
      choice("precision", {"float32", "float64", "bfloat16", "tf32"},
             "float64 is an exact run; bfloat16 has the model compute with parameters rounded to it; the plugins must "
             "offer it. tf32 lets a GPU round what it multiplies to 10 bits, float32 does not"),
      flag("deterministic", true, "On a GPU: equal runs give equal bits, at some cost in time"),
      flag("synchronous", false,
           "On a GPU: wait after each call of a plugin, so that an error of its kernels is told under its name"),
  };
  return schema;
}

const Schema& data_schema() {
  static const Schema schema = {
      required(choice("type", {"idx", "folder", "cifar"}, "How the images are stored")),
      required(text("path", "", "File or folder, relative to the current directory")),
      choice("split", {"train", "test"}, "type = idx or cifar: which part of the data set"),
      integer("channels", 0, {0, 3}, "", "type = folder: 1 grey, 3 colour, 0 as the first image"),
      integer("resize", 0, kFrom0, "px", "type = folder: side of the square image after the crop; 0 as it is"),
      flag("flip", false, "Mirror each image left to right at random, in training"),
      integer("limit", 0, kFrom0, "images", "Use the first so many images; 0 means all"),
      integer("held_out", 0, kFrom0, "images", "type = folder: how many are kept out of training, for tests"),
      choice("on_bad_file", {"error", "skip"}, "type = folder: what an image that cannot be read means"),
      integer("workers", 2, kFrom0, "", "Threads that read ahead; the images do not depend on it"),
  };
  return schema;
}

const Schema& crop_schema() {
  static const Schema schema = {
      required(integer("size", 1, kFrom1, "px", "Side of the square that is cut out")),
  };
  return schema;
}

const Schema& train_schema() {
  static const Schema schema = {
      required(integer("images", 1, kFrom1, "images", "How many images are shown in all")),
      integer("batch", 128, kFrom1, "images", "Images in one step of the optimiser"),
      integer("accumulate", 1, kFrom1, "",
              "Number of parts in which a step's gradient is computed, one after the other, to save memory"),
      real("learning_rate", 2e-4, kAbove0, "", "Step of Adam after the warm-up"),
      integer("warmup_images", 0, kFrom0, "images", "The learning rate rises from 0 over these images"),
      choice("decay", {"constant", "cosine"}, "After the warm-up; cosine falls to 0 at the last image"),
      param("betas", ParamType::reals, kFrom0Below1, "", std::vector<double>{0.9, 0.999}, "The two decays of Adam"),
      real("clip_norm", 1.0, kFrom0, "", "Longest gradient; 0 does not clip"),
      choice("weight", {"inverse_sigma", "inverse_variance", "uniform"}, "w(t): sigma_t^-1, sigma_t^-2 or 1"),
      choice("loss_at", {"clean", "corrupted", "next"}, "Where x0_hat and x_0 are compared: under I, C_t or C_s"),
      real("next_step", 0.25, {0, 1, true}, "", "loss_at = next: s = max(t - next_step u, 0), u uniform in [0, 1]"),
      real("clean_weight", 0.0, kFrom0, "", "Adds clean_weight sigma_t^-1 |x0_hat - x_0|^2 to what loss_at says"),
      choice("parametrisation", {"residual", "scaled", "linear"},
             "What the network's output means: x0_hat = x_t + F, or scaled by time, or beside the linear estimate"),
      real("t_min", 1e-3, kFrom0Below1, "", "Training draws t between this and 1"),
      choice("times", {"uniform", "low_discrepancy", "importance"},
             "How: each alone, evenly over every batch, or by measured loss with weights that make up for it"),
      real("ema_decay", 0.9999, kFrom0Below1, "",
           "Of the averaged weights: min(ema_decay, (1 + n) / (10 + n)) at step n"),
      choice("on_nonfinite", {"stop", "skip", "rewind"}, "After a loss or gradient that is not finite"),
      integer("checkpoint_every_images", 0, kFrom0, "images", "How often the state is saved; 0 means ten times"),
      integer("keep_checkpoints", 2, kFrom1, "", "The newest so many checkpoints stay"),
      integer("log_every", 20, kFrom1, "steps", "How often the loss is written to metrics.jsonl"),
  };
  return schema;
}

const Schema& sample_schema() {
  static const Schema schema = {
      integer("steps", 50, kFrom1, "", "Nodes t = k/steps; as many evaluations of the network (heun: 2 steps - 1)"),
      integer("count", 64, kFrom1, "images", "How many samples are drawn"),
      choice("prior", {"mixture", "empirical", "gaussian", "noise"},
             "What x_1 is drawn from: Gaussians fitted to what C_1 leaves of the data, corrupted training images, one "
             "Gaussian, or noise alone"),
      integer("prior_components", 0, {0, 128}, "",
              "prior = mixture: how many Gaussians, fitted before the training; 0 chooses by held-out likelihood"),
      choice("basis", {"dct", "pixel", "low_rank"},
             "prior = gaussian: a covariance diagonal in the DCT, the whole one, or its 256 largest directions"),
      choice("spacing", {"uniform", "rho", "log_sigma"}, "Of the nodes: in t, or in sigma where it strictly increases"),
      real("t_min", 0, kFrom0Below1, "", "The last node, where x0_hat is the sample; 0 means 1/steps"),
      integer("seed", 0, kFrom0, "", "Seed of the samples; run.seed where none is given"),
      integer("batch", 64, kFrom1, "images",
              "Images in one pass of the sampler; the samples depend on it with euler's tolerance alone"),
      flag("clamp", false, "Limit x0_hat to [-1, 1] at every step"),
  };
  return schema;
}

const std::vector<Condition>& conditions() {
  static const std::vector<Condition> all = {
      {"sample", "basis", "prior", "gaussian"},
      {"sample", "prior_components", "prior", "mixture"},
      {"train", "next_step", "loss_at", "next"},
  };
  return all;
}

const Condition* idle_condition(std::string_view table, std::string_view key, const Settings& settings) {
  const auto found = std::find_if(conditions().begin(), conditions().end(), [&](const Condition& c) {
    return c.table == table && c.key == key && settings.text(c.under) != c.value;
  });
  return found == conditions().end() ? nullptr : &*found;
}

std::string sentence(const Condition& condition) {
  return fmt::format("{}.{} acts under {} = {} only", condition.table, condition.key, condition.under, condition.value);
}

const Schema& ablate_schema() {
  static const Schema schema = {
      // score_names() of core/evaluation/scores.hpp.
      choice("score", {"frechet", "sliced_wasserstein", "precision", "recall", "nearest_neighbour"},
             "What the samples are judged by"),
      integer("count", 0, kFrom0, "images", "Samples in a cell, 4 at least; 0 means sample.count"),
  };
  return schema;
}

}  // namespace sdpipe
