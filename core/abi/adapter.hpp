/* Part of plugin.hpp: from a class to a function table, what all four kinds share. */
#ifndef SDPIPE_ADAPTER_HPP
#define SDPIPE_ADAPTER_HPP

#include <memory>
#include <type_traits>
#include <utility>

#include "call.hpp"
#include "description.hpp"

namespace sdp {

namespace detail {

template <class P>
std::unique_ptr<Description<P>>& description() {
  static std::unique_ptr<Description<P>> d;
  return d;
}

template <class, class P, class... Args>
struct has_prepare : std::false_type {};
template <class P, class... Args>
struct has_prepare<
    std::void_t<decltype(std::declval<P&>().prepare(std::declval<Call&>(), std::declval<const Args&>()...))>, P,
    Args...> : std::true_type {};

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

}  // namespace detail

}  // namespace sdp

#endif /* SDPIPE_ADAPTER_HPP */
