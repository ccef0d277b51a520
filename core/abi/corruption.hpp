/* Part of plugin.hpp: corruptions.
 * Class: `double level_max() const`, `apply` and `adjoint` as templates over float and
 * double (or for float alone). */
#ifndef SDPIPE_CORRUPTION_HPP
#define SDPIPE_CORRUPTION_HPP

#include <type_traits>
#include <utility>

#include "adapter.hpp"

namespace sdp {

namespace detail {

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
      sizeof(sdp_corruption_vt),
      0,
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

template <class P>
Description<P> corruption(const char* id, const char* version, const char* summary) {
  Description<P> d(SDP_KIND_CORRUPTION, id, version, summary);
  d.raw().corruption = detail::corruption_table<P>();
  if (detail::offers_f64<P>::value) d.dtypes(SDP_DTYPE_F64);
  return d;
}

}  // namespace sdp

#endif /* SDPIPE_CORRUPTION_HPP */
