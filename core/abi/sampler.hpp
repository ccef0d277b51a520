/* Part of plugin.hpp: samplers.
 * Class: `void step(Call&, const Path&, uint32_t k, sdp_tensor* x) const`; what a sampler
 * remembers between steps lives in Call::keep slots and, for plain numbers, in a nested
 * `struct Memory` (optional; then step takes `Memory&` before x). */
#ifndef SDPIPE_SAMPLER_HPP
#define SDPIPE_SAMPLER_HPP

#include <cstdint>
#include <type_traits>

#include "adapter.hpp"

namespace sdp {

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
      sizeof(sdp_sampler_vt),
      0,
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

}  // namespace sdp

#endif /* SDPIPE_SAMPLER_HPP */
