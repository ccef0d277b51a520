#include "plugins/models/nn/group_norm.hpp"

#include <ATen/ops/addcmul.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <vector>

#include "core/abi/torch_parallel.hpp"
#include "plugins/models/nn/group_norm_cpu.hpp"
#ifdef SDPIPE_CUDA
#include "plugins/models/nn/group_norm_gpu.hpp"
#endif

namespace sdpipe::nn {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool on_kernels(const at::Tensor& x) {
#ifdef SDPIPE_CUDA
  if (suits_gpu_kernels(x)) return true;
#endif
  return x.device().is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16);
}

bool channels_last(const at::Tensor& x) {
  return x.is_contiguous(at::MemoryFormat::ChannelsLast) || !x.is_contiguous();
}

at::Tensor in_format(const at::Tensor& x, bool last) {
  return x.contiguous(last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous);
}

// Pixels are taken together until their channels fill two vectors, where they can be.
norm::Shape shape_of(const at::Tensor& x, bool last) {
  const int64_t channels = x.size(1), pixels = x.size(2) * x.size(3);
  int64_t together = last ? 32 / std::gcd(channels, int64_t{32}) : 1;
  while (pixels % together != 0) together /= 2;
  constexpr int64_t part = 1 << 16;
  return {channels * together, pixels / together, last, std::clamp<int64_t>(channels * pixels / part, 1, 16)};
}

// `Numbers` of every sample and channel, or of every channel, in float32; `otherwise` where there are none.
class Values {
 public:
  Values(const at::Tensor& t, int64_t channels, float otherwise)
      : held_(t.defined() ? t.to(at::kFloat).contiguous() : t),
        data_(t.defined() ? held_.const_data_ptr<float>() : nullptr),
        step_(t.dim() == 2 ? channels : 0),
        otherwise_(otherwise) {}
  double at(int64_t sample, int64_t channel) const {
    return static_cast<double>(data_ ? data_[sample * step_ + channel] : otherwise_);
  }

 private:
  at::Tensor held_;
  const float* data_;
  int64_t step_;
  float otherwise_;
};

// One normalisation: its tensors, and the coefficients and sums that the kernels share with it.
class Normalisation {
 public:
  Normalisation(const at::Tensor& x, const variable_list& affine, int64_t groups, bool last)
      : samples_(x.size(0)),
        channels_(x.size(1)),
        groups_(groups),
        shape_(shape_of(x, last)),
        weight_(affine[0], channels_, 1),
        bias_(affine[1], channels_, 0),
        offset_(affine[2], channels_, 0),
        scale_(affine[3], channels_, 0),
        shift_(affine[4], channels_, 0),
        coefficients_(at::empty({samples_ * norm::n_coefficients * shape_.stride()}, at::kFloat)),
        sums_(at::zeros({samples_ * shape_.parts * norm::n_sums * shape_.stride()}, at::kDouble)),
        job_{shape_,
             x.const_data_ptr(),
             nullptr,
             nullptr,
             coefficients_.mutable_data_ptr<float>(),
             sums_.mutable_data_ptr<double>()} {}

  void forward(const norm::Passes& passes, double eps, at::Tensor& y, at::Tensor& means, at::Tensor& rstds) {
    job_.out = y.mutable_data_ptr();
    means_ = means.mutable_data_ptr<float>();
    rstds_ = rstds.mutable_data_ptr<float>();
    const bool bfloat16 = y.scalar_type() == at::kBFloat16;
    const auto before = [&](int64_t n) { bfloat16 ? set_pivots<at::BFloat16>(n) : set_pivots<float>(n); };
    const auto between = [&](int64_t n) {
      find_statistics(n, eps);
      set_coefficients(n);
    };
    run(before, passes.moments, between, passes.forward);
  }

  // gradients: of weight and bias, one for each sample, of offset, scale and shift; each (batch, channel) in float32.
  void backward(const norm::Passes& passes, const at::Tensor& means, const at::Tensor& rstds, const at::Tensor& dy,
                at::Tensor& dx, const variable_list& gradients) {
    job_.dy = dy.const_data_ptr();
    job_.out = dx.mutable_data_ptr();
    means_ = const_cast<float*>(means.const_data_ptr<float>());
    rstds_ = const_cast<float*>(rstds.const_data_ptr<float>());
    const auto before = [&](int64_t n) { set_coefficients(n); };
    const auto between = [&](int64_t n) {
      set_slopes(n);
      set_gradients(n, gradients);
    };
    run(before, passes.backward_sums, between, passes.backward);
  }

 private:
  // f(entry, channel, group)
  template <class F>
  void for_each_entry(const F& f) const {
    const int64_t channels_of_group = channels_ / groups_;
    for (int64_t entry = 0; entry < shape_.entries;)
      for (int64_t group = 0, channel = 0; group < groups_; ++group)
        for (int64_t i = 0; i < channels_of_group; ++i) f(entry++, channel++, group);
  }

  // A sample stays in the cache from one pass to the next, unless there are too few for the threads.
  template <class Before, class Between>
  void run(const Before& before, norm::Pass gather, const Between& between, norm::Pass apply) {
    const int64_t parts = shape_.parts;
    const auto one = [&](int64_t n) {
      before(n);
      for (int64_t part = 0; part < parts; ++part) gather(job_, n, part);
      between(n);
      for (int64_t part = 0; part < parts; ++part) apply(job_, n, part);
    };
    constexpr int64_t worth_a_thread = 1 << 14;
    if (samples_ * shape_.size() < worth_a_thread) {
      for (int64_t n = 0; n < samples_; ++n) one(n);
    } else if (parts == 1 || samples_ >= at::get_num_threads()) {
      sdp::parallel(samples_, one);
    } else {
      for (int64_t n = 0; n < samples_; ++n) before(n);
      sdp::parallel(samples_ * parts, [&](int64_t i) { gather(job_, i / parts, i % parts); });
      for (int64_t n = 0; n < samples_; ++n) between(n);
      sdp::parallel(samples_ * parts, [&](int64_t i) { apply(job_, i / parts, i % parts); });
    }
  }

  // What the moments are taken about: their float32 sums cancel unless it lies among the numbers, by their deviation. A
  // single number may not: next to the padding of a convolution pixels are unlike all others.
  template <class T>
  void set_pivots(int64_t n) {
    constexpr int64_t few = 5;
    const T* const x = static_cast<const T*>(job_.x) + n * shape_.size();
    const int64_t of_entry = shape_.columns ? 1 : shape_.count, of_number = shape_.columns ? shape_.entries : 1;
    float* const pivot = job_.coefficient(n, norm::mean);
    std::fill_n(pivot, shape_.entries, 0.f);
    for (int64_t i = 0; i < few; ++i) {
      const T* const number = x + (2 * i + 1) * shape_.count / (2 * few) * of_number;
      for (int64_t e = 0; e < shape_.entries; ++e) pivot[e] += static_cast<float>(number[e * of_entry]) / few;
    }
  }

  // Sums of all parts of a sample.
  const double* total(int64_t n, norm::Sum which) const {
    double* const sums = job_.sum(n, 0, which);
    for (int64_t part = 1; part < shape_.parts; ++part) {
      const double* const more = job_.sum(n, part, which);
      for (int64_t e = 0; e < shape_.entries; ++e) sums[e] += more[e];
    }
    return sums;
  }

  // Mean and variance of a group from those of its entries, all of one size (Chan, Golub and LeVeque, 1979).
  void find_statistics(int64_t n, double eps) {
    const double count = static_cast<double>(shape_.count), entries = static_cast<double>(shape_.entries / groups_);
    const double *const sums = total(n, norm::first), *const squares = total(n, norm::second);
    const float* const pivot = job_.coefficient(n, norm::mean);
    std::vector<double> mean(static_cast<size_t>(groups_)), variance(mean.size()), of_entry(shape_.entries);
    for_each_entry([&](int64_t e, int64_t c, int64_t g) {
      const double difference = sums[e] / count;
      of_entry[e] = static_cast<double>(pivot[e]) + difference + offset_.at(n, c);
      mean[g] += of_entry[e] / entries;
      variance[g] += std::max(0.0, squares[e] / count - difference * difference) / entries;
    });
    for_each_entry([&](int64_t e, int64_t, int64_t g) {
      variance[g] += (of_entry[e] - mean[g]) * (of_entry[e] - mean[g]) / entries;
    });
    for (int64_t g = 0; g < groups_; ++g) {
      means_[n * groups_ + g] = static_cast<float>(mean[g]);
      rstds_[n * groups_ + g] = static_cast<float>(1 / std::sqrt(variance[g] + eps));
    }
  }

  double rstd_of(int64_t n, int64_t g) const { return static_cast<double>(rstds_[n * groups_ + g]); }

  void set_coefficients(int64_t n) {
    float *const mean = job_.coefficient(n, norm::mean), *const factor = job_.coefficient(n, norm::factor),
                 *const offset = job_.coefficient(n, norm::offset);
    for_each_entry([&](int64_t e, int64_t c, int64_t g) {
      const double scale = 1 + scale_.at(n, c);
      mean[e] = static_cast<float>(static_cast<double>(means_[n * groups_ + g]) - offset_.at(n, c));
      factor[e] = static_cast<float>(rstd_of(n, g) * weight_.at(n, c) * scale);
      offset[e] = static_cast<float>(bias_.at(n, c) * scale + shift_.at(n, c));
    });
  }

  // With u = norm(x) and du the gradient in it: dx = rstd (du - mean(du) - u mean(du u)), means over the group.
  void set_slopes(int64_t n) {
    const double *const of_dv = total(n, norm::first), *const of_product = total(n, norm::second);
    std::vector<double> of_du(static_cast<size_t>(groups_)), of_du_d(of_du.size());
    for_each_entry([&](int64_t e, int64_t c, int64_t g) {
      const double to_du = weight_.at(n, c) * (1 + scale_.at(n, c));
      of_du[g] += to_du * of_dv[e];
      of_du_d[g] += to_du * of_product[e];
    });
    const double size = static_cast<double>(shape_.size() / groups_);
    float *const slope = job_.coefficient(n, norm::slope), *const constant = job_.coefficient(n, norm::constant);
    for_each_entry([&](int64_t e, int64_t, int64_t g) {
      const double rstd = rstd_of(n, g);
      slope[e] = static_cast<float>(-rstd * rstd * rstd * of_du_d[g] / size);
      constant[e] = static_cast<float>(-rstd * of_du[g] / size);
    });
  }

  void set_gradients(int64_t n, const variable_list& gradients) {
    const double *const of_dv = job_.sum(n, 0, norm::first), *const of_product = job_.sum(n, 0, norm::second),
                        *const of_d = total(n, norm::third);
    const float *const factor = job_.coefficient(n, norm::factor), *const slope = job_.coefficient(n, norm::slope),
                       *const constant = job_.coefficient(n, norm::constant);
    float* g_of[5];
    for (size_t i = 0; i < 5; ++i) {
      g_of[i] = gradients[i].mutable_data_ptr<float>() + n * channels_;
      std::fill_n(g_of[i], channels_, 0.f);
    }
    for_each_entry([&](int64_t e, int64_t c, int64_t g) {
      const double of_dv_u = rstd_of(n, g) * of_product[e], scale = 1 + scale_.at(n, c);
      const double of_dx = static_cast<double>(factor[e]) * of_dv[e] + static_cast<double>(slope[e]) * of_d[e] +
                           static_cast<double>(constant[e]) * static_cast<double>(shape_.count);
      const double all[] = {scale * of_dv_u, scale * of_dv[e], of_dx,
                            weight_.at(n, c) * of_dv_u + bias_.at(n, c) * of_dv[e], of_dv[e]};
      for (size_t i = 0; i < 5; ++i) g_of[i][c] += static_cast<float>(all[i]);
    });
  }

  int64_t samples_, channels_, groups_;
  norm::Shape shape_;
  Values weight_, bias_, offset_, scale_, shift_;
  at::Tensor coefficients_, sums_;
  norm::Job job_;
  float *means_ = nullptr, *rstds_ = nullptr;
};

// affine: weight, bias, offset, scale, shift.
struct Normalised {
  at::Tensor y, mean, rstd;
};
Normalised normalised(const at::Tensor& x, const variable_list& affine, int64_t groups, double eps, bool silu) {
#ifdef SDPIPE_CUDA
  if (x.is_cuda()) {
    const NormedOnGpu r = normalised_on_gpu(x, affine, groups, eps, silu, channels_last(x));
    return {r.y, r.mean, r.rstd};
  }
#endif
  Normalised r{at::empty_like(x), at::empty({x.size(0), groups}, at::kFloat),
               at::empty({x.size(0), groups}, at::kFloat)};
  Normalisation(x, affine, groups, channels_last(x))
      .forward(norm::passes(x.scalar_type() == at::kBFloat16, silu), eps, r.y, r.mean, r.rstd);
  return r;
}

// The gradients in x and in what `affine` holds, from dy in x's format.
variable_list differentiated(const at::Tensor& x, const variable_list& affine, const at::Tensor& mean,
                             const at::Tensor& rstd, const at::Tensor& dy, bool silu) {
#ifdef SDPIPE_CUDA
  if (x.is_cuda()) return differentiated_on_gpu(x, affine, mean, rstd, dy, silu, channels_last(x));
#endif
  variable_list gradients;
  for (int i = 0; i < 5; ++i) gradients.push_back(at::empty({x.size(0), x.size(1)}, at::kFloat));
  at::Tensor dx = at::empty_like(x);
  Normalisation(x, affine, mean.size(1), channels_last(x))
      .backward(norm::passes(x.scalar_type() == at::kBFloat16, silu), mean, rstd, dy, dx, gradients);
  return {dx, gradients[0].sum(0), gradients[1].sum(0), gradients[2], gradients[3], gradients[4]};
}

using Optional = std::optional<at::Tensor>;

Optional optional(const at::Tensor& t) { return t.defined() ? Optional(t) : std::nullopt; }

struct FusedNorm : torch::autograd::Function<FusedNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                            const Optional& offset, const Optional& scale, const Optional& shift, int64_t groups,
                            double eps, bool silu) {
    const auto tensor = [](const Optional& t) { return t.value_or(at::Tensor()); };
    const variable_list affine{weight, bias, tensor(offset), tensor(scale), tensor(shift)};
    const Normalised r = normalised(x, affine, groups, eps, silu);
    ctx->save_for_backward({x, weight, bias, affine[2], affine[3], affine[4], r.mean, r.rstd});
    ctx->saved_data["silu"] = silu;
    return r.y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& dy) {
    TORCH_CHECK(!at::GradMode::is_enabled(),
                "the fused group normalisation has no second derivative: fused_norm = false "
                "takes LibTorch's, which has one");
    const variable_list saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &mean = saved[6], &rstd = saved[7];
    const variable_list affine(saved.begin() + 1, saved.begin() + 6);
    variable_list all =
        differentiated(x, affine, mean, rstd, in_format(dy[0], channels_last(x)), ctx->saved_data["silu"].toBool());
    for (size_t i = 1; i < all.size(); ++i)
      all[i] = affine[i - 1].defined() ? all[i].to(affine[i - 1].scalar_type()) : at::Tensor();
    all.resize(9);  // none for groups, eps and silu
    return all;
  }
};

void check(const torch::nn::GroupNorm& norm, const at::Tensor& x, const Modulation& m) {
  const int64_t groups = norm->options.num_groups(), channels = norm->options.num_channels();
  TORCH_CHECK(x.size(1) == channels, "group normalisation of ", channels, " channels got x with ", x.size(1));
  TORCH_CHECK(channels % groups == 0, "group normalisation: ", channels, " channels do not make ", groups,
              " whole groups");
  for (const at::Tensor& t : {m.offset, m.scale, m.shift})
    TORCH_CHECK(!t.defined() || t.sizes() == at::IntArrayRef({x.size(0), channels}), "group normalisation: the ",
                "modulation of x ", x.sizes(), " must be (batch, channel), one for each, and is ", t.sizes());
}

at::Tensor plain(const torch::nn::GroupNorm& norm, const at::Tensor& x, const Modulation& m, bool silu) {
  const auto spread = [](const at::Tensor& t) { return t.unsqueeze(-1).unsqueeze(-1); };
  const auto& options = norm->options;
  at::Tensor y = at::group_norm(m.offset.defined() ? x + spread(m.offset) : x, options.num_groups(), norm->weight,
                                norm->bias, options.eps());
  if (m.scale.defined()) y = at::addcmul(spread(m.shift), y, spread(m.scale) + 1);
  return silu ? at::silu(y) : y;
}

}  // namespace

at::Tensor group_norm(const FastPaths& fast, const torch::nn::GroupNorm& norm, const at::Tensor& x, bool silu) {
  return group_norm(fast, norm, x, {}, silu);
}

at::Tensor group_norm(const FastPaths& fast, const torch::nn::GroupNorm& norm, const at::Tensor& x, const Modulation& m,
                      bool silu) {
  const bool suits = x.dim() == 4 && x.numel() > 0 && norm->weight.defined() && on_kernels(x);
  if (!fast.fused_norm || !suits) return plain(norm, x, m, silu);
  check(norm, x, m);
  const at::Tensor dense = in_format(x, channels_last(x));
  const int64_t groups = norm->options.num_groups();
  const double eps = norm->options.eps();
  if (!at::GradMode::is_enabled())
    return normalised(dense, {norm->weight, norm->bias, m.offset, m.scale, m.shift}, groups, eps, silu).y;
  return FusedNorm::apply(dense, norm->weight, norm->bias, optional(m.offset), optional(m.scale), optional(m.shift),
                          groups, eps, silu);
}

at::Tensor arranged(const FastPaths& fast, const at::Tensor& x) {
  return fast.fused_norm && on_kernels(x) ? x.contiguous(at::MemoryFormat::ChannelsLast) : x;
}

}  // namespace sdpipe::nn
