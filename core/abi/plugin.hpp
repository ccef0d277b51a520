/* C++17 face of plugin.h for plugin authors: typed parameters, exceptions, batch views.
 * Header-only, needs nothing but the standard library.  A plugin file reads: equation and
 * citation, a class with its parameters as members, its methods, one export line:
 *
 *   struct Fade {
 *     double depth = 1;
 *     double level_max() const { return depth; }
 *     template <class T>
 *     void apply(sdp::Call&, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const;
 *     template <class T>
 *     void adjoint(sdp::Call&, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const;
 *   };
 *   SDP_PLUGIN("Apache-2.0", sdp::corruption<Fade>("fade", "1.0.0", "fades to zero")
 *                                .real("depth", &Fade::depth, sdp::between(0, 1), "", "how far"))
 *
 * A member's initialiser is the parameter's default.  A method may throw: sdp::Failure (see
 * Call::fail) names the parameter; any other exception becomes SDP_E_INTERNAL with its text.
 *
 * Optional methods are found by name: `prepare(Call&, const Shape&)` runs once after the
 * parameters are set (schedules and samplers: `prepare(Call&)`). */
#ifndef SDPIPE_PLUGIN_HPP
#define SDPIPE_PLUGIN_HPP

#include <cmath>
#include <cstdint>
#include <deque>
#include <exception>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "plugin.h"

namespace sdp {

/* ------------------------------------------------------------------- failure */

struct Failure : std::runtime_error {
  Failure(sdp_status failure_code, std::string key, const std::string& text)
      : std::runtime_error(text), code(failure_code), param(std::move(key)) {}
  sdp_status code;
  std::string param;
};

/* A status that came back from the host or a callback, passed on unchanged. */
struct PassedOn {
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
  if (is_f64(x)) f(double{});
  else f(float{});
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
  void lincomb(sdp_tensor* out, std::initializer_list<double> coef,
               std::initializer_list<const sdp_tensor*> x) const {
    check(detail::host->lincomb(ctx_, out, static_cast<uint32_t>(coef.size()), coef.begin(), x.begin()));
  }
  void normal(uint32_t draw, sdp_tensor* out) const {
    check(detail::host->random(ctx_, SDP_NORMAL, draw, out));
  }
  void uniform(uint32_t draw, sdp_tensor* out) const {
    check(detail::host->random(ctx_, SDP_UNIFORM, draw, out));
  }
  void corrupt(const sdp_point& at, const sdp_tensor* x, sdp_tensor* y) const {
    check(detail::host->corrupt(ctx_, &at, x, y));
  }
  void adjoint(const sdp_point& at, const sdp_tensor* x, sdp_tensor* y) const {
    check(detail::host->adjoint(ctx_, &at, x, y));
  }

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

/* ------------------------------------------------------------------ parameters */

struct Range {
  double min = -HUGE_VAL, max = HUGE_VAL;
  uint32_t flags = 0;
};
inline Range any() { return {}; }
inline Range at_least(double min) { return {min, HUGE_VAL, 0}; }
inline Range above(double min) { return {min, HUGE_VAL, SDP_PF_EXCLUSIVE_MIN}; }
inline Range between(double min, double max) { return {min, max, 0}; }
inline Range above_to(double min, double max) { return {min, max, SDP_PF_EXCLUSIVE_MIN}; }
inline Range below_from(double min, double max) { return {min, max, SDP_PF_EXCLUSIVE_MAX}; }

/* An image parameter: (channel, height, width), values 0 to 1. */
struct Image {
  Shape shape;
  std::vector<float> pixels;
};

/* Collects descriptor, schema and the setters that fill the class's members. */
template <class P>
class Description {
 public:
  Description(int32_t kind, const char* id, const char* version, const char* summary) {
    d_ = {};
    d_.struct_size = sizeof(sdp_descriptor);
    d_.kind = kind;
    d_.id = id;
    d_.version = version;
    d_.summary = summary;
    d_.level_unit = "";
    d_.example = "";
    d_.caps = SDP_CAP_DETERMINISTIC;
    d_.dtypes = SDP_DTYPE_F32;
    d_.devices = SDP_ON_CPU;
  }

  Description& real(const char* key, double P::*member, Range range, const char* unit, const char* doc) {
    P initial;
    sdp_value def = value(SDP_P_FLOAT);
    def.f = initial.*member;
    return add(key, SDP_P_FLOAT, range, unit, doc, def, [member](P& p, const sdp_value& v) { p.*member = v.f; });
  }
  Description& integer(const char* key, int64_t P::*member, Range range, const char* unit, const char* doc) {
    P initial;
    sdp_value def = value(SDP_P_INT);
    def.i = initial.*member;
    return add(key, SDP_P_INT, range, unit, doc, def, [member](P& p, const sdp_value& v) { p.*member = v.i; });
  }
  Description& flag(const char* key, bool P::*member, const char* doc) {
    P initial;
    sdp_value def = value(SDP_P_BOOL);
    def.i = initial.*member ? 1 : 0;
    return add(key, SDP_P_BOOL, any(), "", doc, def, [member](P& p, const sdp_value& v) { p.*member = v.i != 0; });
  }
  Description& string(const char* key, std::string P::*member, const char* doc) {
    P initial;
    sdp_value def = value(SDP_P_STRING);
    def.s = text(initial.*member);
    return add(key, SDP_P_STRING, any(), "", doc, def, [member](P& p, const sdp_value& v) { p.*member = v.s; });
  }
  /* The member is an enum (or integer); choices are listed in its order from 0. */
  template <class E>
  Description& choice(const char* key, E P::*member, std::initializer_list<const char*> choices, const char* doc) {
    P initial;
    choices_.emplace_back(choices);
    sdp_value def = value(SDP_P_CHOICE);
    def.i = static_cast<int64_t>(initial.*member);
    def.s = choices_.back()[static_cast<size_t>(def.i)];
    add(key, SDP_P_CHOICE, any(), "", doc, def, [member](P& p, const sdp_value& v) { p.*member = static_cast<E>(v.i); });
    params_.back().n_choices = static_cast<uint32_t>(choices_.back().size());
    params_.back().choices = choices_.back().data();
    return *this;
  }
  Description& reals(const char* key, std::vector<double> P::*member, Range range, const char* unit, const char* doc) {
    P initial;
    lists_.push_back(initial.*member);
    sdp_value def = value(SDP_P_FLOATS);
    def.fv = lists_.back().data();
    def.n = static_cast<uint32_t>(lists_.back().size());
    return add(key, SDP_P_FLOATS, range, unit, doc, def,
               [member](P& p, const sdp_value& v) { (p.*member).assign(v.fv, v.fv + v.n); });
  }
  Description& integers(const char* key, std::vector<int64_t> P::*member, Range range, const char* unit, const char* doc) {
    P initial;
    int_lists_.push_back(initial.*member);
    sdp_value def = value(SDP_P_INTS);
    def.iv = int_lists_.back().data();
    def.n = static_cast<uint32_t>(int_lists_.back().size());
    return add(key, SDP_P_INTS, range, unit, doc, def,
               [member](P& p, const sdp_value& v) { (p.*member).assign(v.iv, v.iv + v.n); });
  }
  /* Required: the pipeline file names an image, the host decodes it. */
  Description& image(const char* key, Image P::*member, const char* doc) {
    add(key, SDP_P_IMAGE, any(), "", doc, value(SDP_P_IMAGE), [member](P& p, const sdp_value& v) {
      const sdp_tensor& t = *v.image;
      (p.*member).shape.assign(t.shape, t.shape + t.ndim);
      const float* first = static_cast<const float*>(t.data);
      (p.*member).pixels.assign(first, first + numel(t));
    });
    return required();
  }
  /* The parameter added last has no default. */
  Description& required() {
    params_.back().flags |= SDP_PF_REQUIRED;
    params_.back().def = nullptr;
    return *this;
  }
  Description& level_unit(const char* unit) { d_.level_unit = unit; return *this; }
  /* TOML body with small settings, for tests and docs. */
  Description& example(const char* toml) { d_.example = toml; return *this; }
  Description& caps(uint32_t bits) { d_.caps |= bits; return *this; }
  Description& dtypes(uint32_t bits) { d_.dtypes |= bits; return *this; }
  Description& devices(uint32_t bits) { d_.devices |= bits; return *this; }

  sdp_descriptor& raw() { return d_; }
  const sdp_descriptor* finish() {
    pointers_.clear();
    for (const sdp_param& p : params_) pointers_.push_back(&p);
    d_.n_params = static_cast<uint32_t>(pointers_.size());
    d_.params = pointers_.data();
    return &d_;
  }
  void set_members(P& p, const sdp_value* const* values) const {
    for (size_t i = 0; i < setters_.size(); ++i) setters_[i]->set(p, *values[i]);
  }

 private:
  struct AnySetter {
    virtual ~AnySetter() = default;
    virtual void set(P&, const sdp_value&) const = 0;
  };
  template <class F>
  struct SetterOf : AnySetter {
    explicit SetterOf(F f_in) : f(std::move(f_in)) {}
    void set(P& p, const sdp_value& v) const override { f(p, v); }
    F f;
  };

  static sdp_value value(int32_t type) {
    sdp_value v{};
    v.struct_size = sizeof(sdp_value);
    v.type = type;
    return v;
  }
  const char* text(const std::string& s) { texts_.push_back(s); return texts_.back().c_str(); }

  template <class F>
  Description& add(const char* key, int32_t type, Range range, const char* unit, const char* doc, sdp_value def, F set) {
    defaults_.push_back(def);
    sdp_param p{};
    p.struct_size = sizeof(sdp_param);
    p.type = type;
    p.flags = range.flags;
    p.key = key;
    p.doc = doc;
    p.unit = unit;
    p.min = range.min;
    p.max = range.max;
    p.def = &defaults_.back();
    params_.push_back(p);
    setters_.push_back(std::make_unique<SetterOf<F>>(std::move(set)));
    return *this;
  }

  sdp_descriptor d_;
  std::deque<sdp_param> params_; /* deques: elements never move */
  std::deque<sdp_value> defaults_;
  std::deque<std::vector<const char*>> choices_;
  std::deque<std::vector<double>> lists_;
  std::deque<std::vector<int64_t>> int_lists_;
  std::deque<std::string> texts_;
  std::vector<const sdp_param*> pointers_;
  std::vector<std::unique_ptr<AnySetter>> setters_;
};

/* ------------------------------------------------- adapters: class -> function table */

namespace detail {

template <class P>
std::unique_ptr<Description<P>>& description() {
  static std::unique_ptr<Description<P>> d;
  return d;
}

template <class, class P, class... Args>
struct has_prepare : std::false_type {};
template <class P, class... Args>
struct has_prepare<std::void_t<decltype(std::declval<P&>().prepare(std::declval<Call&>(), std::declval<const Args&>()...))>, P, Args...>
    : std::true_type {};

template <class P, class... Args>
sdp_status create(sdp_ctx* ctx, const sdp_value* const* values, void** self, const Args&... args) noexcept {
  return guarded(ctx, [&] {
    auto p = std::make_unique<P>();
    description<P>()->set_members(*p, values);
    Call call(ctx);
    if constexpr (has_prepare<void, P, Args...>::value) p->prepare(call, args...);
    *self = p.release();
  });
}
template <class P>
void destroy(void* self) noexcept {
  delete static_cast<P*>(self);
}
template <class P>
const P& self_of(const void* self) {
  return *static_cast<const P*>(self);
}
inline Shape shape_of(const sdp_sample_shape* s) { return Shape(s->dim, s->dim + s->ndim); }

/* ------------------------------------------------------------- corruption */

template <class P, class T>
using apply_of = decltype(std::declval<const P&>().apply(std::declval<Call&>(), std::declval<const Point&>(),
                                                         std::declval<Batch<const T>>(), std::declval<Batch<T>>()));
template <class P, class = void>
struct offers_f64 : std::false_type {};
template <class P>
struct offers_f64<P, std::void_t<apply_of<P, double>>> : std::true_type {};

template <class P, class F>
sdp_status by_dtype(sdp_ctx* ctx, const sdp_tensor& x, F&& f) noexcept {
  return guarded(ctx, [&] {
    if constexpr (offers_f64<P>::value) {
      dispatch(x, f);
    } else {
      f(float{});
    }
  });
}

template <class P>
const sdp_corruption_vt* corruption_table() {
  static const sdp_corruption_vt table = {
      sizeof(sdp_corruption_vt), 0,
      [](sdp_ctx* ctx, const sdp_sample_shape* sample, const sdp_value* const* values, void** self) noexcept {
        return create<P>(ctx, values, self, shape_of(sample));
      },
      destroy<P>,
      [](const void* self) noexcept -> double { return self_of<P>(self).level_max(); },
      [](sdp_ctx* ctx, const void* self, const sdp_point* at, const sdp_tensor* x, sdp_tensor* y) noexcept {
        return by_dtype<P>(ctx, *x, [&](auto zero) {
          using T = decltype(zero);
          Call call(ctx);
          self_of<P>(self).apply(call, *at, Batch<const T>(x), Batch<T>(y));
        });
      },
      [](sdp_ctx* ctx, const void* self, const sdp_point* at, const sdp_tensor* x, sdp_tensor* y) noexcept {
        return by_dtype<P>(ctx, *x, [&](auto zero) {
          using T = decltype(zero);
          Call call(ctx);
          self_of<P>(self).adjoint(call, *at, Batch<const T>(x), Batch<T>(y));
        });
      }};
  return &table;
}

}  // namespace detail

/* ------------------------------------------------------------------ corruption
 * Class: `double level_max() const`, `apply` and `adjoint` as templates over float and
 * double (or for float alone).                                                         */
template <class P>
Description<P> corruption(const char* id, const char* version, const char* summary) {
  Description<P> d(SDP_KIND_CORRUPTION, id, version, summary);
  d.raw().corruption = detail::corruption_table<P>();
  if (detail::offers_f64<P>::value) d.dtypes(SDP_DTYPE_F64);
  return d;
}

/* -------------------------------------------------------------------- schedule
 * Class: `void select(Call&, const Calibration&, uint32_t n, double* level, double* sigma) const`. */
class Calibration {
 public:
  Calibration(sdp_ctx* ctx, const sdp_calibration* data) : ctx_(ctx), data_(data) {}
  double level_max() const { return data_->level_max; }
  uint32_t n_batches() const { return data_->n_batches; }
  /* Clean data (batch, channel, height, width), borrowed until the call returns. */
  const sdp_tensor* batch(uint32_t k) const {
    const sdp_tensor* x = nullptr;
    check(data_->batch(ctx_, k, &x));
    return x;
  }
  void corrupt(uint32_t k, double level, sdp_tensor* y) const { check(data_->corrupt(ctx_, k, level, y)); }

 private:
  sdp_ctx* ctx_;
  const sdp_calibration* data_;
};

template <class P>
Description<P> schedule(const char* id, const char* version, const char* summary) {
  static const sdp_schedule_vt table = {
      sizeof(sdp_schedule_vt), 0,
      [](sdp_ctx* ctx, const sdp_value* const* values, void** self) noexcept {
        return detail::create<P>(ctx, values, self);
      },
      detail::destroy<P>,
      [](sdp_ctx* ctx, const void* self, const sdp_calibration* data, uint32_t n, double* level, double* sigma) noexcept {
        return detail::guarded(ctx, [&] {
          Call call(ctx);
          detail::self_of<P>(self).select(call, Calibration(ctx, data), n, level, sigma);
        });
      }};
  Description<P> d(SDP_KIND_SCHEDULE, id, version, summary);
  d.raw().schedule = &table;
  return d;
}

/* --------------------------------------------------------------------- sampler
 * Class: `void step(Call&, const Path&, uint32_t k, sdp_tensor* x) const`; what a sampler
 * remembers between steps lives in Call::keep slots and, for plain numbers, in a nested
 * `struct Memory` (optional; then step takes `Memory&` before x).                          */
class Path {
 public:
  Path(sdp_ctx* ctx, const sdp_sampler_env* env) : ctx_(ctx), env_(env) {}
  uint32_t n_nodes() const { return env_->n_nodes; }
  double time(uint32_t k) const { return env_->time[k]; }
  double sigma(double t) const { return env_->sigma(ctx_, t); }
  /* x0_hat = E[x_0 | x_t = x], one network evaluation */
  void denoise(double t, const sdp_tensor* x, sdp_tensor* x0_hat) const { check(env_->denoise(ctx_, t, x, x0_hat)); }
  /* y = C_t x */
  void corrupt(double t, const sdp_tensor* x, sdp_tensor* y) const { check(env_->corrupt(ctx_, t, x, y)); }
  void adjoint(double t, const sdp_tensor* x, sdp_tensor* y) const { check(env_->adjoint(ctx_, t, x, y)); }

 private:
  sdp_ctx* ctx_;
  const sdp_sampler_env* env_;
};

namespace detail {
struct NoMemory {};
template <class P, class = void>
struct memory_of {
  using type = NoMemory;
};
template <class P>
struct memory_of<P, std::void_t<typename P::Memory>> {
  using type = typename P::Memory;
};
}  // namespace detail

template <class P>
Description<P> sampler(const char* id, const char* version, const char* summary) {
  using Memory = typename detail::memory_of<P>::type;
  static const sdp_sampler_vt table = {
      sizeof(sdp_sampler_vt), 0,
      [](sdp_ctx* ctx, const sdp_value* const* values, void** self) noexcept {
        return detail::create<P>(ctx, values, self);
      },
      detail::destroy<P>,
      [](sdp_ctx* ctx, const void*, const sdp_sampler_env*, const sdp_tensor*, void** run) noexcept {
        return detail::guarded(ctx, [&] { *run = new Memory(); });
      },
      [](sdp_ctx* ctx, const void* self, const sdp_sampler_env* env, void* run, uint32_t k, sdp_tensor* x) noexcept {
        return detail::guarded(ctx, [&] {
          Call call(ctx);
          const P& p = detail::self_of<P>(self);
          if constexpr (std::is_same<Memory, detail::NoMemory>::value) {
            p.step(call, Path(ctx, env), k, x);
          } else {
            p.step(call, Path(ctx, env), k, *static_cast<Memory*>(run), x);
          }
        });
      },
      [](const void*, void* run) noexcept { delete static_cast<Memory*>(run); }};
  Description<P> d(SDP_KIND_SAMPLER, id, version, summary);
  d.raw().sampler = &table;
  d.dtypes(SDP_DTYPE_F64);
  return d;
}

/* ----------------------------------------------------------------------- model
 * Class: `std::vector<ModelParam> params() const`, and
 *   void  init(Call&, const std::vector<sdp_tensor*>&) const
 *   void* forward(Call&, const sdp_params&, const Point&, const sdp_tensor* x, sdp_tensor* y, uint32_t flags) const
 *   void  vjp(Call&, const sdp_params&, const Point&, const sdp_tensor* x, void* saved, const sdp_tensor* gy,
 *             sdp_tensor* gx, sdp_tensor* const* gparams, uint32_t flags) const
 *   void  release(void* saved) const noexcept
 *   void  fit(Call&, const Calibration&, const std::vector<sdp_tensor*>&) const      (optional)
 * forward returns what vjp needs (NULL unless SDP_FWD_SAVE, or where x is enough).        */
struct ModelParam {
  std::string name;
  Shape shape;
  uint32_t flags = 0;
};

namespace detail {
template <class P>
struct ModelSelf {
  P plugin;
  std::vector<ModelParam> params;
};
template <class P, class = void>
struct offers_fit : std::false_type {};
template <class P>
struct offers_fit<P, std::void_t<decltype(std::declval<const P&>().fit(
                         std::declval<Call&>(), std::declval<const Calibration&>(),
                         std::declval<const std::vector<sdp_tensor*>&>()))>> : std::true_type {};
template <class P>
const ModelSelf<P>& model_of(const void* self) {
  return *static_cast<const ModelSelf<P>*>(self);
}
inline std::vector<sdp_tensor*> list_of(uint32_t n, sdp_tensor* const* tensors) {
  return std::vector<sdp_tensor*>(tensors, tensors + n);
}

template <class P>
sdp_status model_create(sdp_ctx* ctx, const sdp_sample_shape* sample, const sdp_value* const* values,
                        void** self) noexcept {
  return guarded(ctx, [&] {
    auto m = std::make_unique<ModelSelf<P>>();
    description<P>()->set_members(m->plugin, values);
    Call call(ctx);
    const Shape shape = shape_of(sample);
    if constexpr (has_prepare<void, P, Shape>::value) m->plugin.prepare(call, shape);
    m->params = m->plugin.params();
    *self = m.release();
  });
}

template <class P>
sdp_status model_param(const void* self, uint32_t i, sdp_model_param* out) noexcept {
  const std::vector<ModelParam>& params = model_of<P>(self).params;
  if (i >= params.size() || params[i].shape.size() > 8) return SDP_E_INVALID;
  out->ndim = static_cast<int32_t>(params[i].shape.size());
  for (size_t k = 0; k < params[i].shape.size(); ++k) out->dim[k] = params[i].shape[k];
  out->name = params[i].name.c_str();
  out->flags = params[i].flags;
  return SDP_OK;
}

template <class P>
sdp_status model_fit(sdp_ctx* ctx, const void* self, const sdp_calibration* data, uint32_t n,
                     sdp_tensor* const* params) noexcept {
  return guarded(ctx, [&] {
    Call call(ctx);
    model_of<P>(self).plugin.fit(call, Calibration(ctx, data), list_of(n, params));
  });
}

template <class P>
sdp_model_vt model_table() {
  sdp_model_vt table = {
      sizeof(sdp_model_vt), 0, model_create<P>,
      [](void* self) noexcept { delete static_cast<ModelSelf<P>*>(self); },
      [](const void* self) noexcept -> uint32_t { return static_cast<uint32_t>(model_of<P>(self).params.size()); },
      model_param<P>,
      [](sdp_ctx* ctx, const void* self, uint32_t n, sdp_tensor* const* params) noexcept {
        return guarded(ctx, [&] {
          Call call(ctx);
          model_of<P>(self).plugin.init(call, list_of(n, params));
        });
      },
      [](sdp_ctx* ctx, const void* self, const sdp_params* params, const sdp_point* at, const sdp_tensor* x,
         sdp_tensor* y, uint32_t flags, void** saved) noexcept {
        return guarded(ctx, [&] {
          Call call(ctx);
          void* kept = model_of<P>(self).plugin.forward(call, *params, *at, x, y, flags);
          if (saved) *saved = kept;
        });
      },
      [](sdp_ctx* ctx, const void* self, const sdp_params* params, const sdp_point* at, const sdp_tensor* x,
         void* saved, const sdp_tensor* gy, sdp_tensor* gx, sdp_tensor* const* gparams, uint32_t flags) noexcept {
        return guarded(ctx, [&] {
          Call call(ctx);
          model_of<P>(self).plugin.vjp(call, *params, *at, x, saved, gy, gx, gparams, flags);
        });
      },
      [](const void* self, void* saved) noexcept { model_of<P>(self).plugin.release(saved); }, nullptr};
  if constexpr (offers_fit<P>::value) table.fit = model_fit<P>;
  return table;
}
}  // namespace detail

template <class P>
Description<P> model(const char* id, const char* version, const char* summary) {
  static const sdp_model_vt table = detail::model_table<P>();
  Description<P> d(SDP_KIND_MODEL, id, version, summary);
  d.raw().model = &table;
  d.dtypes(SDP_DTYPE_F64);
  return d;
}

/* ---------------------------------------------------------------------- export */

namespace detail {
template <class P>
const sdp_descriptor* publish(Description<P>& d) {
  description<P>() = std::make_unique<Description<P>>(std::move(d));
  return description<P>()->finish();
}
template <class... D>
const sdp_library* library(const sdp_host* running, sdp_ctx* ctx, const char* license, const char* fingerprint, D&&... d) noexcept {
  host = running;
  static const sdp_library* built = nullptr;
  const sdp_status status = guarded(ctx, [&] {
    if (built) return;
    static std::vector<const sdp_descriptor*> items;
    items = {publish(d)...};
    static sdp_library lib{};
    lib.struct_size = sizeof(sdp_library);
    lib.license = license;
    lib.fingerprint = fingerprint;
    lib.n_items = static_cast<uint32_t>(items.size());
    lib.items = items.data();
    built = &lib;
  });
  return status == SDP_OK ? built : nullptr;
}
}  // namespace detail
}  // namespace sdp

#ifndef SDP_FINGERPRINT /* torch.hpp defines it */
#define SDP_FINGERPRINT ""
#endif

#define SDP_PLUGIN(LICENSE, ...)                                                                  \
  const sdp_library* sdp_plugin_v1(const sdp_host* host, sdp_ctx* ctx) {                          \
    return sdp::detail::library(host, ctx, LICENSE, SDP_FINGERPRINT, __VA_ARGS__);                \
  }

#endif /* SDPIPE_PLUGIN_HPP */
