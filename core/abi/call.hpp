/* Part of plugin.hpp: what one call gives to a plugin (tensors, points, host services) and how failures get out. */
#ifndef SDPIPE_CALL_HPP
#define SDPIPE_CALL_HPP

#include <cmath>
#include <cstdint>
#include <exception>
#include <initializer_list>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "noise.h"
#include "plugin.h"

namespace sdp {

/* ------------------------------------------------------------------- failure */

struct Failure : std::runtime_error {
  Failure(sdp_status failure_code, std::string key, const std::string& text)
      : std::runtime_error(text), code(failure_code), param(std::move(key)) {}
  sdp_status code;
  std::string param;
};

/* A status that came back from the host or a callback, passed on unchanged. A std::exception, as LibTorch's engine,
 * which runs checkpointed blocks again, lets no other through. */
struct PassedOn : std::exception {
  explicit PassedOn(sdp_status failure_code) : code(failure_code) {}
  const char* what() const noexcept override { return "a failure that was told where it happened"; }
  sdp_status code;
};

inline void check(sdp_status code) {
  if (code != SDP_OK) throw PassedOn{code};
}

/* -------------------------------------------------------------------- values */

using Shape = std::vector<int64_t>; /* of one sample: {channel, height, width} */

/* A batch of samples in C-contiguous memory; axis 0 is the batch. */
template <class T>
class Batch {
 public:
  explicit Batch(const sdp_tensor* t) : tensor_(t) {}
  int64_t size() const { return tensor_->shape[0]; }
  /* Elements of one sample. */
  int64_t stride() const {
    int64_t n = 1;
    for (int32_t i = 1; i < tensor_->ndim; ++i) n *= tensor_->shape[i];
    return n;
  }
  T* operator[](int64_t b) const { return data() + b * stride(); }
  T* data() const { return static_cast<T*>(tensor_->data); }
  int64_t dim(int32_t axis) const { return tensor_->shape[axis]; }
  const sdp_tensor* raw() const { return tensor_; }
  sdp_tensor* raw_mutable() const { return const_cast<sdp_tensor*>(tensor_); }

 private:
  const sdp_tensor* tensor_;
};

inline int64_t numel(const sdp_tensor& t) {
  int64_t n = 1;
  for (int32_t i = 0; i < t.ndim; ++i) n *= t.shape[i];
  return n;
}
inline bool is_f64(const sdp_tensor& t) { return t.dtype_code == 2 && t.dtype_bits == 64; }

/* Call f(Batch<float or double>...) by the dtype of x; all tensors of one call agree. */
template <class F>
void dispatch(const sdp_tensor& x, F&& f) {
  if (is_f64(x))
    f(double{});
  else
    f(float{});
}

using Point = sdp_point;

/* A one-sample-per-entry sdp_point that owns its arrays. */
struct OwnedPoint {
  std::vector<double> t, level, sigma;
  std::vector<uint64_t> key;
  sdp_point view() const {
    sdp_point p{};
    p.struct_size = sizeof(sdp_point);
    p.batch = static_cast<uint32_t>(t.size());
    p.t = t.data();
    p.level = level.data();
    p.sigma = sigma.data();
    p.key = key.data();
    return p;
  }
};

/* --------------------------------------------------------------- host services */

namespace detail {
inline const sdp_host* host = nullptr; /* set by the entry point, static for the process */
}

/* One call into the plugin: the host's services, with errors as exceptions. */
class Call {
 public:
  explicit Call(sdp_ctx* ctx) : ctx_(ctx) {}
  sdp_ctx* raw() const { return ctx_; }

  [[noreturn]] void fail(const std::string& text, const std::string& param = {},
                         sdp_status code = SDP_E_INVALID) const {
    throw Failure(code, param, text);
  }
  void log(int32_t level, const std::string& text) const { detail::host->log(ctx_, level, text.c_str()); }
  void stop_if_cancelled() const {
    if (detail::host->cancelled(ctx_)) throw PassedOn{SDP_E_CANCELLED};
  }
  void progress(double fraction) const { detail::host->progress(ctx_, fraction); }
  sdp_tensor* scratch(const sdp_tensor* like) const {
    sdp_tensor* out = nullptr;
    check(detail::host->scratch(ctx_, like, &out));
    return out;
  }
  /* The same dtype and device as *like, another shape (batch included). */
  sdp_tensor* scratch(Shape shape, const sdp_tensor* like) const {
    Shape strides(shape.size(), 1);
    for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
    sdp_tensor form = *like;
    form.data = nullptr;
    form.ndim = static_cast<int32_t>(shape.size());
    form.shape = shape.data();
    form.strides = strides.data();
    return scratch(&form);
  }
  sdp_tensor* keep(uint32_t slot, const sdp_tensor* like) const {
    sdp_tensor* out = nullptr;
    check(detail::host->keep(ctx_, slot, like, &out));
    return out;
  }
  /* out = sum_i coef[i] * x[i] */
  void lincomb(sdp_tensor* out, std::initializer_list<double> coef, std::initializer_list<const sdp_tensor*> x) const {
    check(detail::host->lincomb(ctx_, out, static_cast<uint32_t>(coef.size()), coef.begin(), x.begin()));
  }
  /* out = sum_i coef[i] * x[i] + std * eta with the numbers eta of normal(draw, ...), in one pass where the host can.
   */
  void lincomb_with_noise(sdp_tensor* out, std::initializer_list<double> coef,
                          std::initializer_list<const sdp_tensor*> x, double std, uint32_t draw) const {
    if (const auto* noise = static_cast<const sdp_noise*>(detail::host->extension(SDP_NOISE)))
      return check(noise->lincomb(ctx_, out, static_cast<uint32_t>(coef.size()), coef.begin(), x.begin(), std, draw));
    sdp_tensor* eta = scratch(out);
    normal(draw, eta);
    lincomb(out, coef, x);
    lincomb(out, {1, std}, {out, eta});
  }
  void normal(uint32_t draw, sdp_tensor* out) const { check(detail::host->random(ctx_, SDP_NORMAL, draw, out)); }
  void uniform(uint32_t draw, sdp_tensor* out) const { check(detail::host->random(ctx_, SDP_UNIFORM, draw, out)); }
  void corrupt(const sdp_point& at, const sdp_tensor* x, sdp_tensor* y) const {
    check(detail::host->corrupt(ctx_, &at, x, y));
  }
  void adjoint(const sdp_point& at, const sdp_tensor* x, sdp_tensor* y) const {
    check(detail::host->adjoint(ctx_, &at, x, y));
  }
  /* The cudaStream_t to queue work on, whose GPU is the current one; NULL where this call's tensors are on the CPU. */
  void* stream() const { return detail::host->stream(ctx_); }

 private:
  sdp_ctx* ctx_;
};

namespace detail {
/* Runs f; turns what it throws into a status with its reason. */
template <class F>
sdp_status guarded(sdp_ctx* ctx, F&& f) noexcept {
  try {
    f();
    return SDP_OK;
  } catch (const Failure& e) {
    return host->fail(ctx, e.code, e.param.empty() ? nullptr : e.param.c_str(), e.what());
  } catch (const PassedOn& e) {
    return e.code;
  } catch (const std::bad_alloc&) {
    return host->fail(ctx, SDP_E_NOMEM, nullptr, "out of memory");
  } catch (const std::exception& e) {
    return host->fail(ctx, SDP_E_INTERNAL, nullptr, e.what());
  } catch (...) {
    return host->fail(ctx, SDP_E_INTERNAL, nullptr, "an unknown exception was thrown");
  }
}
}  // namespace detail

}  // namespace sdp

#endif /* SDPIPE_CALL_HPP */
