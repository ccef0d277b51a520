// What the network's output F means:
//
//   x0_hat = skip(x_t) + scale_t F(input(x_t), t)
//
//   residual  x_t + F(x_t)
//   scaled    m + a_t y + r_t F(y / n_t),  y = x_t - C_t m, with numbers of the path alone:
//             a_t = E<x_0 - m, y> / E|y|^2,  r_t^2 = E|x_0 - m - a_t y|^2 / d,  n_t^2 = E|y|^2 / d.
//             For C = I: c_skip, c_out and c_in of EDM (Karras, Aittala, Aila, Laine, arXiv 2206.00364) with
//             sigma_data the root mean square of x_0 - m
//   linear    W(x_t) + S_t^(1/2) F((C_t S C_t^T + sigma_t^2 I)^-1/2 y), W and S_t as linear_filter.hpp has them;
//             where C_t is diagonal neither in the DCT nor in pixels W(x_t) + r_t F(y / n_t),
//             r_t^2 = E|x_0 - W(x_t)|^2 / d
//
// Another C than I, and `linear`, are ours. For Gaussian data that is diagonal in the basis, F = 0 under `linear` is
// the exact denoiser. skip, scale and input are linear but for the constants m and C_t m.
#pragma once

#include <atomic>

#include "core/diffusion/linear_filter.hpp"
#include "core/diffusion/prior.hpp"

namespace sdpipe {

// The maps at the points of one batch; borrows process and points.
class Preconditioning {
 public:
  at::Tensor input(const at::Tensor& x_t) const;
  // f, the network's output for input(x_t), is overwritten.
  at::Tensor x0_hat(const at::Tensor& x_t, at::Tensor f) const;
  // scale^T g: the gradient of F, where g is that of x0_hat.
  at::Tensor to_output(const at::Tensor& g) const;
  // skip^T u + input^T v: the gradient of x_t, where u is that of x0_hat and v what the network's vjp of to_output(u)
  // says.
  at::Tensor to_x_t(const at::Tensor& u, const at::Tensor& v) const;

 private:
  friend class Parametrisation;
  struct Maps {
    at::Tensor mean, seen_mean;     // m, C_t m
    at::Tensor skip, scale, input;  // entries of diagonal maps; skip is undefined where conjugate gradients find it
    BasisChange basis;
    const LinearFilter* filter;
    const Process* process;
    const Points* at;
  };
  at::Tensor diagonal(const at::Tensor& entries, const at::Tensor& x) const;
  std::optional<Maps> maps_;  // none: residual
};

class Parametrisation {
 public:
  Parametrisation() = default;  // residual
  // `name` as train.parametrisation has it. Of all calibration images, at 65 of the path's 1,025 times with straight
  // lines between for what C does to them, and at each for sigma; r_t of `linear` without a basis, with noise by
  // `seed`, of the first batch. Throws RunError where all images are alike, Cancelled where `cancel` became true.
  static Parametrisation estimate(const std::string& name, const Process& process, const DataCalibration& data,
                                  uint64_t seed, const std::atomic<bool>* cancel = nullptr);

  const std::string& name() const { return name_; }
  // One sentence for the log; empty where there is nothing to say.
  std::string describe() const;

  // As checkpoints hold it, all float64; without any of them, residual:
  //   scaled   parametrisation.mean and .skip, .scale, .input: m, and a_t, r_t, 1 / n_t at the 1,025 times
  //   linear   .mean and .dct_variance or .pixel_variance; without a basis .mean, .dct_variance, .scale, .input
  NamedTensors named() const;
  // Of samples of that shape. Throws CheckpointError naming `file` where they are incomplete, unknown or misshapen.
  static Parametrisation from(const NamedTensors& tensors, const SampleShape& shape, const std::string& file);

  // `like`: x_t. Borrows this, the process and the points.
  Preconditioning at(const Process& process, const Points& points, const at::Tensor& like) const;

 private:
  struct Tables {
    std::vector<double> skip, scale, input;  // at path_points times; empty where coefficients take their place
  };
  std::string name_ = "residual";
  at::Tensor mean_;  // (channel, height, width), float64
  Tables tables_;
  std::optional<LinearFilter> filter_;  // of linear
};

}  // namespace sdpipe
