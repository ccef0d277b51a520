/* A host interface beside plugin.h: host->extension(SDP_NOISE) gives a sdp_noise, or NULL in hosts without it. */
#ifndef SDPIPE_NOISE_H
#define SDPIPE_NOISE_H

#include "plugin.h"

#define SDP_NOISE "sdpipe.noise/1"

#if defined(__cplusplus)
extern "C" {
#endif

typedef struct sdp_noise {
  uint32_t struct_size, reserved0;
  /* out = sum_i coef[i] * x[i] + std * eta in one pass, where eta are the numbers that
   * random(ctx, SDP_NORMAL, draw, ...) gives; out may be one of the x.             */
  sdp_status (*lincomb)(sdp_ctx *ctx, sdp_tensor *out, uint32_t n, const double *coef, const sdp_tensor *const *x,
                        double std, uint32_t draw) SDP_NOEXCEPT;
} sdp_noise;

#if defined(__cplusplus)
}
#endif
#endif /* SDPIPE_NOISE_H */
