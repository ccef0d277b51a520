/* A corruption in C that the loader accepts as it stands. CMakeLists.txt compiles it once for every way of being
 * refused, each with one of the words below defined otherwise. */
#include "core/abi/plugin.h"

#ifndef ENTRY
#define ENTRY sdp_plugin_v1
#endif
#ifndef NEEDS_MINOR
#define NEEDS_MINOR 0
#endif
#ifndef FINGERPRINT
#define FINGERPRINT ""
#endif
#ifndef LIBRARY_SIZE
#define LIBRARY_SIZE sizeof(sdp_library)
#endif
#ifndef DESCRIPTOR_SIZE
#define DESCRIPTOR_SIZE sizeof(sdp_descriptor)
#endif
#ifndef ID
#define ID "fade"
#endif
#ifndef SECOND_ID
#define SECOND_ID "other_fade"
#endif
#ifndef N_ITEMS
#define N_ITEMS 2
#endif
#ifndef KIND
#define KIND SDP_KIND_CORRUPTION
#endif
#ifndef DTYPES
#define DTYPES SDP_DTYPE_F32
#endif
#ifndef ADJOINT
#define ADJOINT apply
#endif
#ifndef KEY
#define KEY "depth"
#endif
#ifndef SECOND_KEY
#define SECOND_KEY "speed"
#endif
#ifndef DEFAULT
#define DEFAULT 0.5
#endif

#ifdef CALLS
void CALLS(void);
#endif

static sdp_status create(sdp_ctx *ctx, const sdp_sample_shape *sample, const sdp_value *const *values, void **self) {
  (void)ctx, (void)sample, (void)values;
  *self = NULL;
#ifdef CALLS
  CALLS();
#endif
  return SDP_OK;
}
static void destroy(void *self) { (void)self; }
static double level_max(const void *self) { return (void)self, 1.0; }

static sdp_status apply(sdp_ctx *ctx, const void *self, const sdp_point *at, const sdp_tensor *x, sdp_tensor *y) {
  const int64_t n = x->strides[0];
  (void)ctx, (void)self;
  for (uint32_t b = 0; b < at->batch; ++b)
    for (int64_t i = b * n; i < (b + 1) * n; ++i)
      ((float *)y->data)[i] = (float)(1 - at->level[b] / 2) * ((const float *)x->data)[i];
  return SDP_OK;
}

static const sdp_corruption_vt table = {sizeof table, 0, create, destroy, level_max, apply, ADJOINT};
static const sdp_value initial = {.struct_size = sizeof(sdp_value), .type = SDP_P_FLOAT, .f = DEFAULT};
static const sdp_param depth = {sizeof depth, SDP_P_FLOAT, 0, 0, KEY, "How far", "", 0, 1, &initial, NULL};
static const sdp_param speed = {sizeof speed, SDP_P_FLOAT, 0, 0, SECOND_KEY, "How fast", "", -1, 1, &initial, NULL};
static const sdp_param *const params[] = {&depth, &speed};
static const sdp_descriptor first = {
    .struct_size = DESCRIPTOR_SIZE, .kind = KIND, .id = ID, .version = "1.0.0", .summary = "Fades", .dtypes = DTYPES,
    .devices = SDP_ON_CPU, .n_params = 2, .params = params, .corruption = &table};
static const sdp_descriptor second = {
    .struct_size = sizeof second, .kind = SDP_KIND_CORRUPTION, .id = SECOND_ID, .version = "1.0.0",
    .summary = "Fades too", .dtypes = SDP_DTYPE_F32, .devices = SDP_ON_CPU, .corruption = &table};
static const sdp_descriptor *const items[] = {&first, &second};
static const sdp_library library = {LIBRARY_SIZE, NEEDS_MINOR, 0, "Apache-2.0", FINGERPRINT, N_ITEMS, 0, items, NULL};

SDP_EXPORT const sdp_library *ENTRY(const sdp_host *host, sdp_ctx *ctx);
const sdp_library *ENTRY(const sdp_host *host, sdp_ctx *ctx) {
  const sdp_library *answer = &library;
  (void)host, (void)ctx;
#ifdef DECLINES
  host->fail(ctx, SDP_E_UNSUPPORTED, NULL, DECLINES);
  answer = NULL;
#endif
#ifdef DECLINES_SILENTLY
  answer = NULL;
#endif
  return answer;
}
