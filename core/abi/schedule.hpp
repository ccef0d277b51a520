/* Part of plugin.hpp: schedules, and the data that they and fitted models see.
 * Class: `void select(Call&, const Calibration&, uint32_t n, double* level, double* sigma) const`. */
#ifndef SDPIPE_SCHEDULE_HPP
#define SDPIPE_SCHEDULE_HPP

#include <cstdint>

#include "adapter.hpp"

namespace sdp {

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
  static const sdp_schedule_vt table = {sizeof(sdp_schedule_vt), 0,
                                        [](sdp_ctx* ctx, const sdp_value* const* values, void** self) noexcept {
                                          return detail::create<P>(ctx, values, self);
                                        },
                                        detail::destroy<P>,
                                        [](sdp_ctx* ctx, const void* self, const sdp_calibration* data, uint32_t n,
                                           double* level, double* sigma) noexcept {
                                          return detail::guarded(ctx, [&] {
                                            Call call(ctx);
                                            detail::self_of<P>(self).select(call, Calibration(ctx, data), n, level,
                                                                            sigma);
                                          });
                                        }};
  Description<P> d(SDP_KIND_SCHEDULE, id, version, summary);
  d.raw().schedule = &table;
  return d;
}

}  // namespace sdp

#endif /* SDPIPE_SCHEDULE_HPP */
