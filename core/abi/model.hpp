/* Part of plugin.hpp: models.
 * Class: `std::vector<ModelParam> params() const`, and
 *   void  init(Call&, const std::vector<sdp_tensor*>&) const
 *   void* forward(Call&, const sdp_params&, const Point&, const sdp_tensor* x, sdp_tensor* y, uint32_t flags) const
 *   void  vjp(Call&, const sdp_params&, const Point&, const sdp_tensor* x, void* saved, const sdp_tensor* gy,
 *             sdp_tensor* gx, sdp_tensor* const* gparams, uint32_t flags) const
 *   void  release(void* saved) const noexcept
 *   void  fit(Call&, const Calibration&, const std::vector<sdp_tensor*>&) const      (optional)
 * forward returns what vjp needs (NULL unless SDP_FWD_SAVE, or where x is enough). */
#ifndef SDPIPE_MODEL_HPP
#define SDPIPE_MODEL_HPP

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "adapter.hpp"
#include "schedule.hpp"

namespace sdp {

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
struct offers_fit<
    P, std::void_t<decltype(std::declval<const P&>().fit(std::declval<Call&>(), std::declval<const Calibration&>(),
                                                         std::declval<const std::vector<sdp_tensor*>&>()))>>
    : std::true_type {};
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
      sizeof(sdp_model_vt),
      0,
      model_create<P>,
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
      [](const void* self, void* saved) noexcept { model_of<P>(self).plugin.release(saved); },
      nullptr};
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

}  // namespace sdp

#endif /* SDPIPE_MODEL_HPP */
