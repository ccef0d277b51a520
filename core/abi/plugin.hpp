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

#include <memory>
#include <utility>
#include <vector>

#include "corruption.hpp"
#include "model.hpp"
#include "plugin.h"
#include "sampler.hpp"
#include "schedule.hpp"

namespace sdp {

namespace detail {
template <class P>
const sdp_descriptor* publish(Description<P>& d) {
  description<P>() = std::make_unique<Description<P>>(std::move(d));
  return description<P>()->finish();
}
template <class... D>
const sdp_library* library(const sdp_host* running, sdp_ctx* ctx, const char* license, const char* fingerprint,
                           D&&... d) noexcept {
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

#define SDP_PLUGIN(LICENSE, ...)                                                   \
  const sdp_library* sdp_plugin_v1(const sdp_host* host, sdp_ctx* ctx) {           \
    return sdp::detail::library(host, ctx, LICENSE, SDP_FINGERPRINT, __VA_ARGS__); \
  }

#endif /* SDPIPE_PLUGIN_HPP */
