// A network of two numbers, y = gain x + bias, whose gradient or output is not usable at chosen steps of a training.
#include <limits>

#include "core/abi/plugin.hpp"

namespace {

enum class Fault { not_a_number, huge_gradient, huge_output };

struct Breaking {
  Fault fault = Fault::not_a_number;
  int64_t first = 1, count = 0;  // steps, from 1

  std::vector<sdp::ModelParam> params() const { return {{"gain", {1}}, {"bias", {1}}}; }
  void init(sdp::Call& call, const std::vector<sdp_tensor*>& params) const {
    for (sdp_tensor* p : params) call.normal(0, p);
  }

  void* forward(sdp::Call&, const sdp_params& params, const sdp::Point&, const sdp_tensor* x, sdp_tensor* y,
                uint32_t flags) const {
    if (flags & SDP_FWD_SAVE) ++step_;
    sdp::dispatch(*x, [&](auto zero) {
      using T = decltype(zero);
      const T gain = *static_cast<const T*>(params.tensor[0]->data),
              bias = *static_cast<const T*>(params.tensor[1]->data);
      const T* in = static_cast<const T*>(x->data);
      T* out = static_cast<T*>(y->data);
      for (int64_t i = 0; i < sdp::numel(*x); ++i) out[i] = gain * in[i] + bias;
      if (is_now(Fault::huge_output) && (flags & SDP_FWD_SAVE)) out[0] = static_cast<T>(1e200);
    });
    return nullptr;
  }

  void vjp(sdp::Call&, const sdp_params& params, const sdp::Point&, const sdp_tensor* x, void*, const sdp_tensor* gy,
           sdp_tensor* gx, sdp_tensor* const* gparams, uint32_t) const {
    sdp::dispatch(*x, [&](auto zero) {
      using T = decltype(zero);
      const T *in = static_cast<const T*>(x->data), *g = static_cast<const T*>(gy->data);
      double of_gain = 0, of_bias = 0;
      for (int64_t i = 0; i < sdp::numel(*x); ++i) {
        of_gain += static_cast<double>(g[i]) * static_cast<double>(in[i]);
        of_bias += static_cast<double>(g[i]);
        if (gx) static_cast<T*>(gx->data)[i] = g[i] * *static_cast<const T*>(params.tensor[0]->data);
      }
      if (is_now(Fault::not_a_number)) of_bias = std::numeric_limits<double>::quiet_NaN();
      if (is_now(Fault::huge_gradient)) of_bias = 1e200;
      if (gparams[0]) *static_cast<T*>(gparams[0]->data) = static_cast<T>(of_gain);
      if (gparams[1]) *static_cast<T*>(gparams[1]->data) = static_cast<T>(of_bias);
    });
  }

  void release(void*) const noexcept {}

 private:
  bool is_now(Fault kind) const { return fault == kind && step_ >= first && step_ < first + count; }
  mutable int64_t step_ = 0;
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::model<Breaking>("breaking", "1.0.0", "A test's")
               .choice("fault", &Breaking::fault, {"not_a_number", "huge_gradient", "huge_output"}, "what is wrong")
               .integer("first", &Breaking::first, sdp::at_least(1), "steps", "the first bad step")
               .integer("count", &Breaking::count, sdp::at_least(0), "steps", "how many are bad"))
