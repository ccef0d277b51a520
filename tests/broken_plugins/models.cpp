// Models that each break one law, and one that keeps them all: y = gain x^2 + shift, elementwise.
// The gradients: dy/dx = 2 gain x, dy/dgain = x^2, dy/dshift = 1.
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "core/abi/plugin.hpp"

namespace {

enum class Fault {
  none,
  equal_names,
  wrong_input_gradient,
  wrong_parameter_gradient,
  accumulates,
  one_saved_for_all,
  works_once,
  batch_dependent,
  writes_input,
  forgets_training,
  infinite_at_zero,
  wrong_in_bfloat16
};

using Saved = std::vector<double>;

template <class T>
std::vector<double> as_doubles(const sdp_tensor* x) {
  const T* first = static_cast<const T*>(x->data);
  return Saved(first, first + sdp::numel(*x));
}

double rounded(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return static_cast<double>(value);
}

// A parameter of one number.
double value_of(const sdp_tensor& p) {
  if (sdp::is_f64(p)) return *static_cast<const double*>(p.data);
  if (p.dtype_bits == 16) return rounded(*static_cast<const uint16_t*>(p.data));
  return static_cast<double>(*static_cast<const float*>(p.data));
}

template <Fault fault>
struct Square {
  static inline Saved shared;  // what a model must not do: remember the latest forward alone

  std::vector<sdp::ModelParam> params() const {
    return {{"gain", {1}}, {fault == Fault::equal_names ? "gain" : "shift", {1}}};
  }
  void init(sdp::Call& call, const std::vector<sdp_tensor*>& params) const {
    for (sdp_tensor* p : params) call.normal(0, p);
  }

  void* forward(sdp::Call&, const sdp_params& params, const sdp::Point& at, const sdp_tensor* x, sdp_tensor* y,
                uint32_t flags) const {
    void* saved = nullptr;
    sdp::dispatch(*x, [&](auto zero) {
      using T = decltype(zero);
      square<T>(params, at, x, y, fault == Fault::forgets_training && (flags & SDP_FWD_TRAIN) ? 2 : 1);
      shared = as_doubles<T>(x);
      if (flags & SDP_FWD_SAVE) saved = new Saved(shared);
    });
    return saved;
  }

  template <class T>
  void square(const sdp_params& params, const sdp::Point& at, const sdp_tensor* x, sdp_tensor* y, double scale) const {
    const bool is_wrong = fault == Fault::wrong_in_bfloat16 && params.tensor[0]->dtype_bits == 16;
    if (fault == Fault::batch_dependent) scale = static_cast<double>(x->shape[0]);
    const T gain = static_cast<T>(scale * value_of(*params.tensor[0])),
            shift = static_cast<T>(value_of(*params.tensor[1]) + (is_wrong ? 1 : 0));
    T* in = static_cast<T*>(x->data);
    T* out = static_cast<T*>(y->data);
    for (int64_t i = 0; i < sdp::numel(*x); ++i) out[i] = gain * in[i] * in[i] + shift;
    if (fault == Fault::infinite_at_zero && at.sigma[0] == 0) out[0] = std::numeric_limits<T>::infinity();
    if (fault == Fault::writes_input) in[0] = std::nextafter(in[0], std::numeric_limits<T>::infinity());
  }

  void vjp(sdp::Call&, const sdp_params& params, const sdp::Point&, const sdp_tensor* x, void* saved,
           const sdp_tensor* gy, sdp_tensor* gx, sdp_tensor* const* gparams, uint32_t) const {
    sdp::dispatch(*x, [&](auto zero) {
      using T = decltype(zero);
      Saved& own = *static_cast<Saved*>(saved);
      pull_back<T>(*static_cast<const T*>(params.tensor[0]->data), fault == Fault::one_saved_for_all ? shared : own,
                   {static_cast<const T*>(gy->data), gx, gparams});
      if (fault == Fault::works_once) own.assign(own.size(), 0);
    });
  }

  template <class T>
  struct Gradients {
    const T* y;
    sdp_tensor* x;
    sdp_tensor* const* params;
    void set(int i, double value) const {
      if (!params[i]) return;
      T& out = *static_cast<T*>(params[i]->data);
      out = static_cast<T>(value) + (fault == Fault::accumulates ? out : 0);
    }
  };

  template <class T>
  void pull_back(T gain, const Saved& x, const Gradients<T>& g) const {
    const double scale = fault == Fault::batch_dependent ? 3 : 1;  // the batch of the law
    double of_gain = 0, of_shift = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      of_gain += scale * g.y[i] * x[i] * x[i];
      of_shift += g.y[i];
      if (g.x)
        static_cast<T*>(g.x->data)[i] =
            static_cast<T>((fault == Fault::wrong_input_gradient ? 1.9 : 2) * scale * gain * x[i] * g.y[i]);
    }
    g.set(0, fault == Fault::wrong_parameter_gradient ? 1.001 * of_gain : of_gain);
    g.set(1, of_shift);
  }

  void release(void* saved) const noexcept { delete static_cast<Saved*>(saved); }
};

template <Fault fault>
sdp::Description<Square<fault>> square(const char* id) {
  sdp::Description<Square<fault>> description = sdp::model<Square<fault>>(id, "1.0.0", "A test's");
  description.dtypes(SDP_DTYPE_BF16);
  return description;
}

}  // namespace

SDP_PLUGIN("Apache-2.0", square<Fault::none>("sound"), square<Fault::equal_names>("equal_names"),
           square<Fault::wrong_input_gradient>("wrong_input_gradient"),
           square<Fault::wrong_parameter_gradient>("wrong_parameter_gradient"),
           square<Fault::accumulates>("accumulates"), square<Fault::one_saved_for_all>("one_saved_for_all"),
           square<Fault::works_once>("works_once"), square<Fault::batch_dependent>("batch_dependent"),
           square<Fault::writes_input>("writes_input"), square<Fault::forgets_training>("forgets_training"),
           square<Fault::infinite_at_zero>("infinite_at_zero"), square<Fault::wrong_in_bfloat16>("wrong_in_bfloat16"))
