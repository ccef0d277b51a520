/* fade: C(level) = (1 - level) I, a picture that fades to grey. A complete plugin in C, which needs plugin.h alone:
 *   cc -std=c99 -shared -fPIC -I FOLDER_OF_PLUGIN_H third_party_fade.c -o fade.sdp.so */
#include <stdlib.h>

#include "plugin.h"

static const sdp_host *host;

static sdp_status create(sdp_ctx *ctx, const sdp_sample_shape *sample, const sdp_value *const *values, void **self) {
  double *depth = malloc(sizeof *depth);
  (void)sample;
  if (!depth) return host->fail(ctx, SDP_E_NOMEM, NULL, "out of memory");
  *depth = values[0]->f;
  *self = depth;
  return SDP_OK;
}

static void destroy(void *self) { free(self); }

static double level_max(const void *self) { return *(const double *)self; }

/* y[b] = (1 - level[b]) x[b], which is its own transpose. */
static sdp_status apply(sdp_ctx *ctx, const void *self, const sdp_point *at, const sdp_tensor *x, sdp_tensor *y) {
  const int64_t n = x->strides[0];
  (void)ctx, (void)self;
  for (int64_t i = 0; i < n * at->batch; ++i) {
    const double keep = 1 - at->level[i / n];
    if (x->dtype_bits == 64) ((double *)y->data)[i] = keep * ((const double *)x->data)[i];
    else ((float *)y->data)[i] = (float)keep * ((const float *)x->data)[i];
  }
  return SDP_OK;
}

static const sdp_corruption_vt table = {sizeof table, 0, create, destroy, level_max, apply, apply};
static const sdp_value depth_default = {.struct_size = sizeof depth_default, .type = SDP_P_FLOAT, .f = 0.9};
static const sdp_param depth = {
    .struct_size = sizeof depth, .type = SDP_P_FLOAT, .flags = SDP_PF_EXCLUSIVE_MIN, .key = "depth",
    .doc = "How far the picture fades", .unit = "", .min = 0, .max = 1, .def = &depth_default};
static const sdp_param *const params[] = {&depth};
static const sdp_descriptor fade = {
    .struct_size = sizeof fade, .kind = SDP_KIND_CORRUPTION, .id = "org.example.fade", .version = "0.3.0",
    .summary = "Fades to grey", .level_unit = "", .example = "", .caps = SDP_CAP_DETERMINISTIC,
    .dtypes = SDP_DTYPE_F32 | SDP_DTYPE_F64, .devices = SDP_ON_CPU, .n_params = 1, .params = params,
    .corruption = &table};
static const sdp_descriptor *const items[] = {&fade};
static const sdp_library library = {sizeof library, 0, 0, "MIT", "", 1, 0, items, NULL};

const sdp_library *sdp_plugin_v1(const sdp_host *running, sdp_ctx *ctx) {
  (void)ctx;
  host = running;
  return &library;
}
