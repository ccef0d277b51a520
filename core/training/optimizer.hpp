// Clip, Adam (Kingma and Ba, arXiv 1412.6980) and the moving average of the weights, fused into one pass over the flat
// buffers. float32 or float64, on the CPU or a CUDA GPU; results do not depend on the number of threads.
//
//   g <- g min(1, clip / |g|)
//   m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
//   p <- p - lr (m / (1 - b1^n)) / (sqrt(v / (1 - b2^n)) + 1e-8)
//   ema <- d ema + (1 - d) p,   d = min(ema_decay, (1 + n) / (10 + n))
#pragma once

#include <ATen/core/Tensor.h>

#include "core/host/schema.hpp"

namespace sdpipe {

struct OptimizerOptions {
  double learning_rate = 2e-4;
  int64_t warmup_images = 0;
  bool cosine = false;  // after the warm-up, to 0 at the last image
  int64_t images = 0;   // of the whole training
  double beta1 = 0.9, beta2 = 0.999;
  double clip_norm = 1;  // 0: do not clip
  double ema_decay = 0.9999;
};

OptimizerOptions optimizer_options(const Settings& train);

// The learning rate of the step that begins after `images_seen` images and shows `batch` more.
double learning_rate(const OptimizerOptions& options, int64_t images_seen, int64_t batch);

struct Moments {
  at::Tensor m, v;
};

// Euclidean norm of a flat tensor, summed in double in blocks of fixed size. Not finite where an element is not.
double flat_norm(const at::Tensor& flat);

// `n` counts steps from 1. `gradient_norm` = flat_norm(gradient).
void fused_step(at::Tensor& p, const at::Tensor& gradient, double gradient_norm, Moments& moments, at::Tensor& ema,
                const OptimizerOptions& options, double lr, int64_t n);

}  // namespace sdpipe
