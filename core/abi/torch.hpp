/* C++20 face of plugin.h for authors of models written with torch::nn; stands on plugin.hpp.
 * A plugin file reads: a network, a class with its settings as members, one export line:
 *
 *   struct Net : torch::nn::Module {
 *     explicit Net(int64_t channels);
 *     at::Tensor forward(const sdp::Pass&, const at::Tensor& x);   // x0_hat - x
 *   };
 *   struct Tiny {
 *     int64_t width = 16;
 *     std::shared_ptr<Net> build(const sdp::Shape& sample) const;
 *   };
 *   SDP_PLUGIN("MIT", sdp::torch_model<Tiny>("org.example.tiny", "1.0.0", "a small network")
 *                         .integer("width", &Tiny::width, sdp::at_least(1), "", "channels"))
 *
 * Optional: `void prepare(sdp::Call&, const sdp::Shape&)` checks settings (Call::fail names one),
 * `void init(const sdp::Draw&, const std::string& name, at::Tensor& p) const` replaces initial_value,
 * `bool keeps_f32(const std::string& name) const` names tensors that bfloat16 would spoil.
 *
 * Rules for networks
 *   Parameters are the host's memory. Values that build() gives them are dropped: it makes
 *   new tensors in each call. Buffers keep theirs and become frozen parameters, so build() must not
 *   draw them at random. All are floats.
 *   forward() is a pure function: it writes no member and no buffer (refused), and is called
 *   from several threads at once. It computes in x's dtype, float32 or float64, on x's device.
 *   A network that can do so in bfloat16 too says it with .dtypes(SDP_DTYPE_BF16): then x is bfloat16
 *   and so are the parameters, copies of the trained ones; Pass::x is the x that the host gave, for
 *   what bfloat16 is too coarse for; the output may be either. Gradients come back in float32.
 *   Randomness comes from sdp::dropout or Call::uniform and normal, never from LibTorch.
 *   A network may be handed tensors on a GPU: whatever forward() makes, it makes on x's device. There the host's stream
 *   is already LibTorch's current one, and x's GPU the current one. */
#ifndef SDPIPE_TORCH_HPP
#define SDPIPE_TORCH_HPP

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/nn/module.h>

#include <cmath>
#include <memory>
#include <string>

#include "fingerprint.hpp"
#include "plugin.hpp"
#include "tensor.hpp"

namespace sdp {

/* One forward pass. */
struct Pass {
  const Call& call;
  at::Tensor t, level, sigma; /* (batch), float64, on x's device: where each sample stands */
  bool train;                 /* dropout and the like are on */
  at::Tensor x;               /* as the host gave it: float32 or float64 */
};

/* x with each element zeroed with probability p and the others divided by 1 - p, while training.
 * Number the calls of a pass: equal `draw` gives an equal mask, also when a pass is repeated. */
inline at::Tensor dropout(const Pass& pass, const at::Tensor& x, double p, uint32_t draw) {
  if (!pass.train || p == 0) return x;
  TensorView uniform(at::empty(x.sizes(), x.options().dtype(pass.x.scalar_type())));
  pass.call.uniform(draw, uniform.get());
  return x * uniform.tensor().ge(p).to(x.scalar_type()).div_(1 - p);
}

/* Fills one parameter with the host's random numbers, whose stream belongs to that parameter: call
 * it once, for a second call repeats the first one's numbers. */
class Draw {
 public:
  Draw(const Call& call, size_t parameter) : call_(call), number_(static_cast<uint32_t>(parameter % 4096)) {}
  void uniform(at::Tensor& p, double low, double high) const {
    call_.uniform(number_, TensorView(p).get());
    p.mul_(high - low).add_(low);
  }
  void normal(at::Tensor& p, double std) const {
    call_.normal(number_, TensorView(p).get());
    p.mul_(std);
  }

 private:
  const Call& call_;
  uint32_t number_; /* the ABI has 12 bits for it */
};

/* Matrices and kernels (out, in, ...): uniform with variance 1 / (3 fan_in), as torch::nn's own
 * layers; vectors: 1 where the name ends in "weight" (normalisation), else 0. */
inline void initial_value(const Draw& draw, const std::string& name, at::Tensor& p) {
  if (p.dim() < 2) {
    p.fill_(name.ends_with("weight") ? 1 : 0);
    return;
  }
  const double bound = 1 / std::sqrt(static_cast<double>(p.numel() / p.size(0)));
  draw.uniform(p, -bound, bound);
}

}  // namespace sdp

#include "torch_adapter.hpp"

namespace sdp {

template <class P>
Description<P> torch_model(const char* id, const char* version, const char* summary) {
  static const sdp_model_vt table = detail::torch_table<P>();
  Description<P> d(SDP_KIND_MODEL, id, version, summary);
  d.raw().model = &table;
  d.dtypes(SDP_DTYPE_F64);
  d.devices(SDP_ON_CUDA);
  return d;
}

}  // namespace sdp

#endif /* SDPIPE_TORCH_HPP */
