/* The sdpipe plugin ABI, major version 1; installed as <sdpipe/plugin.h>.
 * docs/plugins.md explains it with examples.
 *
 * One self-contained header: C99 and later, C++11 and later.
 *
 * Words used in the comments
 *   [any-thread]   may be called from any thread, concurrently with anything
 *   [concurrent]   several threads may call it on the same instance at once
 *                  (unless the plugin sets SDP_CAP_SERIAL: then the host takes a lock)
 *   [required]     must not be NULL          [optional]  NULL means "not offered"
 *   borrowed       valid until the function returns; copy it to keep it
 *   static         valid until the process ends
 *
 * Rules of evolution (each is machine-checked, see tests/abi)
 *   1. struct_size comes first and is set by whoever allocates the struct.
 *   2. Fields are only ever appended.  A reader treats an absent field as 0 and
 *      compares struct_size with ">=", never "==".  What is appended is optional for ever.
 *   3. Lists are arrays of POINTERS, so that elements may grow.
 *   4. No enum, bool, bit-field, long, size_t, wchar_t or C++ type in a struct.
 *   5. A new capability is a new extension id ("vendor.name/1"), not a new rule.
 *   6. A new major version is a new entry symbol (sdp_plugin_v2).
 */
#ifndef SDPIPE_PLUGIN_H
#define SDPIPE_PLUGIN_H

#include <stddef.h>
#include <stdint.h>

#define SDP_ABI_MAJOR 1
#define SDP_ABI_MINOR 0 /* what this header describes, NOT what a plugin needs */
#ifndef SDP_TARGET_MINOR /* lowest host minor to support: hides newer fields */
#  define SDP_TARGET_MINOR 0
#endif
#if SDP_TARGET_MINOR > SDP_ABI_MINOR
#  error "SDP_TARGET_MINOR is newer than this header"
#endif

#if defined(_WIN32)
#  define SDP_EXPORT __declspec(dllexport)
#else
#  define SDP_EXPORT __attribute__((visibility("default")))
#endif
#if defined(__cplusplus)
#  define SDP_NOEXCEPT noexcept /* C++17: a function that may throw does not convert */
extern "C" {
#else
#  define SDP_NOEXCEPT
#endif

/* Bytes of a struct up to and including one field. */
#define SDP_SIZE_THROUGH(type, field) (offsetof(type, field) + sizeof(((type *)0)->field))
/* Does *p, filled in by the other side, contain `field`, and is it non-zero? */
#define SDP_HAS(p, type, field) ((p)->struct_size >= SDP_SIZE_THROUGH(type, field) && (p)->field)

/* ------------------------------------------------------------------ status */
typedef int32_t sdp_status;
#define SDP_OK 0
#define SDP_E_INVALID 1     /* bad parameter or tensor: name it in fail()      */
#define SDP_E_UNSUPPORTED 2 /* dtype, device, shape or feature not offered     */
#define SDP_E_NOMEM 3
#define SDP_E_CANCELLED 4   /* return this soon after host->cancelled() != 0   */
#define SDP_E_DEVICE 5
#define SDP_E_INTERNAL 6

/* ------------------------------------------------------------------ tensor
 * Bit for bit the layout of DLPack's DLTensor, without its enum types.  The host
 * guarantees: ndim >= 1; shape and strides non-NULL; C-contiguous; byte_offset 0;
 * data aligned to 64 bytes; no output overlaps an input; one device per call, except
 * that fit() may have parameters on a GPU beside calibration data in host memory.
 * Where tensors are on a GPU, it is the calling thread's current device.  A plugin without
 * SDP_ON_CUDA gets copies in host memory there; if it is a trained model, it is refused. */
typedef struct sdp_tensor {
  void *data;
  int32_t device_type; /* 1 CPU, 2 CUDA: DLPack's numbers   */
  int32_t device_id;
  int32_t ndim;
  uint8_t dtype_code;  /* 2 float, 4 bfloat: DLPack's numbers */
  uint8_t dtype_bits;
  uint16_t dtype_lanes; /* always 1 */
  int64_t *shape;
  int64_t *strides;     /* in elements */
  uint64_t byte_offset;
} sdp_tensor;

#define SDP_DEVICE_CPU 1
#define SDP_DEVICE_CUDA 2
#define SDP_DTYPE_F32 1u /* bits of sdp_descriptor.dtypes; F32 is obligatory */
#define SDP_DTYPE_F64 2u
#define SDP_DTYPE_F16 4u
#define SDP_DTYPE_BF16 8u
#define SDP_ON_CPU 1u    /* bits of sdp_descriptor.devices; CPU is obligatory */
#define SDP_ON_CUDA 2u

/* Where each sample of a batch stands on the corruption path
 *   x_t = C(level) x_0 + sigma * noise.
 * All arrays have `batch` entries and live in host memory, whatever the device.
 * It is pageable memory, lent until the call returns: copy what a kernel needs of
 * it, for example into the kernel's arguments.                                    */
typedef struct sdp_point {
  uint32_t struct_size, batch;
  const double *t;     /* time in [0, 1]; 0 is clean                             */
  const double *level; /* of the corruption, in the operator's own unit          */
  const double *sigma; /* standard deviation of the added noise                  */
  const uint64_t *key; /* one per sample, constant along its trajectory: the only
                        * seed for whatever is random in C (mask positions ...)  */
} sdp_point;

/* ----------------------------------------------------------- host services */
/* One call: never store it.  While the call waits for another thread, as LibTorch's
 * autograd makes it do, that thread may use it.                                   */
typedef struct sdp_ctx sdp_ctx;

#define SDP_UNIFORM 0 /* [0, 1)                   */
#define SDP_NORMAL 1  /* mean 0, standard deviation 1 */

typedef struct sdp_host {
  uint32_t struct_size;
  uint16_t abi_major, abi_minor; /* of the running host */
  const char *name, *version;    /* static */

  /* Record why a call failed; copies both strings; returns `code`, so that
   * `return host->fail(ctx, SDP_E_INVALID, "std_max", "must exceed std_min");`
   * works.  `param` is a key of the plugin's schema, or NULL.      [any-thread] */
  sdp_status (*fail)(sdp_ctx *ctx, sdp_status code, const char *param, const char *text) SDP_NOEXCEPT;
  /* level: 0 debug, 1 info, 2 warning, 3 error.                    [any-thread] */
  void (*log)(sdp_ctx *ctx, int32_t level, const char *text) SDP_NOEXCEPT;
  /* Non-zero: stop soon and return SDP_E_CANCELLED.                [any-thread] */
  int32_t (*cancelled)(sdp_ctx *ctx) SDP_NOEXCEPT;
  void (*progress)(sdp_ctx *ctx, double fraction) SDP_NOEXCEPT;
  /* A tensor like *like, freed by the host when the current call returns.       */
  sdp_status (*scratch)(sdp_ctx *ctx, const sdp_tensor *like, sdp_tensor **out) SDP_NOEXCEPT;
  /* The same, but with a memory: asking again for `slot` gives the same tensor with its
   * contents.  Lives until the sampler's end(), or until release() of what this
   * forward() saved.  SDP_E_UNSUPPORTED elsewhere.                              */
  sdp_status (*keep)(sdp_ctx *ctx, uint32_t slot, const sdp_tensor *like, sdp_tensor **out) SDP_NOEXCEPT;
  /* out = sum_i coef[i] * x[i], in one pass; out may be one of the x.           */
  sdp_status (*lincomb)(sdp_ctx *ctx, sdp_tensor *out, uint32_t n, const double *coef,
                        const sdp_tensor *const *x) SDP_NOEXCEPT;
  /* The only legal source of randomness, counter-based: out depends on (seed, what the
   * call is for, sample, step, draw, element) and on nothing else, so neither the batch
   * split, nor threads, nor the device matter.  Number your draws: equal `draw` gives
   * equal numbers, also in vjp.  Axis 0 of out is the batch (in init(): any shape; in
   * select(): 1).  Inside apply() and adjoint() it depends on (at->key[b], draw, element)
   * only.                                                                       */
  sdp_status (*random)(sdp_ctx *ctx, int32_t distribution, uint32_t draw, sdp_tensor *out) SDP_NOEXCEPT;
  /* cudaStream_t on which inputs are ready and outputs are due; NULL where the call's
   * tensors are on the CPU, never where they are on a GPU.  Do not synchronise it.   */
  void *(*stream)(sdp_ctx *ctx) SDP_NOEXCEPT;
  /* y[b] = C(at)[b] x[b] and its transpose, with the run's corruption: for networks
   * that have the degradation inside, and for exactly known denoisers.
   * SDP_E_UNSUPPORTED where the call has no corruption.                         */
  sdp_status (*corrupt)(sdp_ctx *ctx, const sdp_point *at, const sdp_tensor *x, sdp_tensor *y) SDP_NOEXCEPT;
  sdp_status (*adjoint)(sdp_ctx *ctx, const sdp_point *at, const sdp_tensor *x, sdp_tensor *y) SDP_NOEXCEPT;
  /* Optional host interfaces by id; NULL if unknown.               [any-thread] */
  const void *(*extension)(const char *id) SDP_NOEXCEPT;
} sdp_host;

/* --------------------------------------------------------- parameter schema
 * Static data: the host checks the TOML table, completes it, documents it and
 * reports errors with file, line and column, without running plugin code.      */
#define SDP_P_BOOL 1
#define SDP_P_INT 2
#define SDP_P_FLOAT 3
#define SDP_P_STRING 4
#define SDP_P_CHOICE 5 /* one string out of `choices` */
#define SDP_P_FLOATS 6 /* list of floats */
#define SDP_P_INTS 7   /* list of integers */
#define SDP_P_IMAGE 8  /* path of an image, relative to the pipeline file: the host decodes it */
#define SDP_P_FILE 9   /* path of a file, relative to the pipeline file: the host makes it absolute.
                        * Empty where there is none, as in tests: the plugin uses a stand-in    */
#define SDP_PF_REQUIRED 1u
#define SDP_PF_EXCLUSIVE_MIN 2u
#define SDP_PF_EXCLUSIVE_MAX 4u

typedef struct sdp_value {
  uint32_t struct_size;
  int32_t type;      /* SDP_P_*                                     */
  int64_t i;         /* BOOL (0 or 1), INT, index of a CHOICE       */
  double f;          /* FLOAT                                       */
  const char *s;     /* STRING, CHOICE, FILE                        */
  const double *fv;  /* FLOATS                                      */
  const int64_t *iv; /* INTS                                        */
  const sdp_tensor *image; /* IMAGE: (channel, height, width), F32, CPU, values 0 to 1 */
  uint32_t n;        /* length of fv or iv                          */
  uint32_t is_set;   /* 0: not in the file, the default was applied */
} sdp_value;

typedef struct sdp_param {
  uint32_t struct_size;
  int32_t type;
  uint32_t flags;
  uint32_t n_choices;
  const char *key;  /* TOML key, [a-z][a-z0-9_]*                        */
  const char *doc;  /* one sentence, shown by `sdpipe plugins show`     */
  const char *unit; /* "px", "images", ""                               */
  double min, max;  /* -HUGE_VAL / HUGE_VAL when open; for lists: of each element */
  const sdp_value *def; /* NULL if SDP_PF_REQUIRED                      */
  const char *const *choices;
} sdp_param;

typedef struct sdp_sample_shape {
  uint32_t struct_size;
  int32_t ndim;       /* without the batch axis: (channel, height, width) is 3 */
  const int64_t *dim;
} sdp_sample_shape;

/* --------------------------------------------------------------- corruption
 * A linear operator C(level, key) on one sample; C(0) is the identity.  An instance may
 * cache behind `self` only under its own lock.                                  */
typedef struct sdp_corruption_vt {
  uint32_t struct_size, reserved0;
  /* values[i] answers params[i]; type, range and default are already checked.   */
  sdp_status (*create)(sdp_ctx *ctx, const sdp_sample_shape *sample,
                       const sdp_value *const *values, void **self) SDP_NOEXCEPT; /* [required] */
  void (*destroy)(void *self) SDP_NOEXCEPT;                                       /* [required] */
  double (*level_max)(const void *self) SDP_NOEXCEPT;                             /* [required] */
  /* y[b] = C(at->level[b], at->key[b]) x[b]                 [required][concurrent] */
  sdp_status (*apply)(sdp_ctx *ctx, const void *self, const sdp_point *at,
                      const sdp_tensor *x, sdp_tensor *y) SDP_NOEXCEPT;
  /* y[b] = C(at->level[b], at->key[b])^T x[b]               [required][concurrent] */
  sdp_status (*adjoint)(sdp_ctx *ctx, const void *self, const sdp_point *at,
                        const sdp_tensor *x, sdp_tensor *y) SDP_NOEXCEPT;
} sdp_corruption_vt;

/* -------------------------------------------------------------- calibration
 * Clean data and the corruption, for what is estimated rather than trained.  All
 * of it is in host memory, also in a run on a GPU: what batch() lends, and y.      */
typedef struct sdp_calibration {
  uint32_t struct_size, n_batches;
  double level_max; /* of the corruption */
  /* The k-th batch of clean data; borrowed until the current call returns.      */
  sdp_status (*batch)(sdp_ctx *ctx, uint32_t k, const sdp_tensor **x) SDP_NOEXCEPT;
  /* y = C(level) of the k-th batch; sample j of batch k always has the same key. */
  sdp_status (*corrupt)(sdp_ctx *ctx, uint32_t k, double level, sdp_tensor *y) SDP_NOEXCEPT;
} sdp_calibration;

/* ----------------------------------------------------------------- schedule
 * Chooses the path: level(t) and sigma(t) at n equally spaced times 0 .. 1; the
 * host interpolates linearly and stores the table in the checkpoint.            */
typedef struct sdp_schedule_vt {
  uint32_t struct_size, reserved0;
  sdp_status (*create)(sdp_ctx *ctx, const sdp_value *const *values, void **self) SDP_NOEXCEPT;
  void (*destroy)(void *self) SDP_NOEXCEPT;
  /* level[0] must be 0 and level[n-1] at most data->level_max; sigma must not be negative, and neither may fall.
   * One that the plugin does not fill (see SDP_CAP_FILLS_*) is NULL: levels and noise may come from two plugins. */
  sdp_status (*select)(sdp_ctx *ctx, const void *self, const sdp_calibration *data, uint32_t n,
                       double *level, double *sigma) SDP_NOEXCEPT;
} sdp_schedule_vt;

/* -------------------------------------------------------------------- model
 * A pure function y = f(parameters, x, at).  The host owns parameters and
 * gradients; the plugin sees views of their storage.  y is the residual:
 * the estimate of the clean sample is x + y.                                    */
typedef struct sdp_model_param {
  uint32_t struct_size;
  int32_t ndim;
  int64_t dim[8];
  const char *name; /* "down.0.conv1.weight": its key in a checkpoint; lives as long as the instance */
  uint32_t flags, reserved0;
} sdp_model_param;
#define SDP_PARAM_FROZEN 1u   /* a buffer: stored in checkpoints, never trained or averaged */
#define SDP_PARAM_KEEP_F32 2u /* never narrowed to BF16 (Fourier frequencies, norms) */

/* The parameters of one call.  Equal version means equal values (0: unknown), so that
 * prepared forms (transformed, repacked, narrowed weights) can be cached.  Values do not
 * change between forward() and the last vjp() of what it saved.
 * x, y, gy, gx and gradients are F32 (F64 in exact runs); parameters may be BF16 copies. */
typedef struct sdp_params {
  uint32_t struct_size, n;
  uint64_t version;
  const sdp_tensor *const *tensor;
} sdp_params;

#define SDP_FWD_TRAIN 1u /* dropout and the like are on     */
#define SDP_FWD_SAVE 2u  /* a vjp may follow: fill in *saved */
#define SDP_VJP_LAST 1u  /* no further vjp of this `saved`: it may be consumed, not freed */

typedef struct sdp_model_vt {
  uint32_t struct_size, reserved0;
  sdp_status (*create)(sdp_ctx *ctx, const sdp_sample_shape *sample,
                       const sdp_value *const *values, void **self) SDP_NOEXCEPT;
  void (*destroy)(void *self) SDP_NOEXCEPT;
  uint32_t (*n_params)(const void *self) SDP_NOEXCEPT;
  sdp_status (*param)(const void *self, uint32_t i, sdp_model_param *out) SDP_NOEXCEPT;
  /* Write initial values into the host's storage, drawing from host->random only. */
  sdp_status (*init)(sdp_ctx *ctx, const void *self, uint32_t n, sdp_tensor *const *params) SDP_NOEXCEPT;
  sdp_status (*forward)(sdp_ctx *ctx, const void *self, const sdp_params *params, const sdp_point *at,
                        const sdp_tensor *x, sdp_tensor *y, uint32_t flags,
                        void **saved) SDP_NOEXCEPT;          /* [required][concurrent] */
  /* gx and gparams[i] receive (not accumulate) gy^T dy/dx and gy^T dy/dp_i; a NULL entry is
   * not wanted.  Models with fit() may answer SDP_E_UNSUPPORTED for gparams, never for gx.
   * May run on another thread than forward().               [required][concurrent] */
  sdp_status (*vjp)(sdp_ctx *ctx, const void *self, const sdp_params *params, const sdp_point *at,
                    const sdp_tensor *x, void *saved, const sdp_tensor *gy, sdp_tensor *gx,
                    sdp_tensor *const *gparams, uint32_t flags) SDP_NOEXCEPT;
  void (*release)(const void *self, void *saved) SDP_NOEXCEPT;
  /* Estimate the parameters from data in closed form; a model that offers this is
   * fitted and never trained (exactly known denoisers).               [optional] */
  sdp_status (*fit)(sdp_ctx *ctx, const void *self, const sdp_calibration *data, uint32_t n,
                    sdp_tensor *const *params) SDP_NOEXCEPT;
} sdp_model_vt;

/* ------------------------------------------------------------------ sampler
 * The host runs the loop (progress, cancel, snapshots); the plugin one step.    */
typedef struct sdp_sampler_env {
  uint32_t struct_size, n_nodes;
  const double *time; /* n_nodes, increasing; the last is the start */
  /* x0 = E[x_0 | x_t = x], one network evaluation                               */
  sdp_status (*denoise)(sdp_ctx *ctx, double t, const sdp_tensor *x, sdp_tensor *x0) SDP_NOEXCEPT;
  sdp_status (*corrupt)(sdp_ctx *ctx, double t, const sdp_tensor *x, sdp_tensor *y) SDP_NOEXCEPT;
  sdp_status (*adjoint)(sdp_ctx *ctx, double t, const sdp_tensor *x, sdp_tensor *y) SDP_NOEXCEPT;
  double (*sigma)(sdp_ctx *ctx, double t) SDP_NOEXCEPT;
} sdp_sampler_env;

typedef struct sdp_sampler_vt {
  uint32_t struct_size, reserved0;
  sdp_status (*create)(sdp_ctx *ctx, const sdp_value *const *values, void **self) SDP_NOEXCEPT;
  void (*destroy)(void *self) SDP_NOEXCEPT;
  /* Start a trajectory at x = x_t, t = time[n_nodes-1]; *run holds what it remembers between steps.  */
  sdp_status (*begin)(sdp_ctx *ctx, const void *self, const sdp_sampler_env *env,
                      const sdp_tensor *x, void **run) SDP_NOEXCEPT;
  /* Advance x in place from env->time[k] to env->time[k-1].                     */
  sdp_status (*step)(sdp_ctx *ctx, const void *self, const sdp_sampler_env *env, void *run, uint32_t k,
                     sdp_tensor *x) SDP_NOEXCEPT;
  void (*end)(const void *self, void *run) SDP_NOEXCEPT;
} sdp_sampler_vt;

/* ------------------------------------------------------------------ library */
#define SDP_KIND_CORRUPTION 1
#define SDP_KIND_SCHEDULE 2
#define SDP_KIND_MODEL 3
#define SDP_KIND_SAMPLER 4
#define SDP_CAP_SERIAL 1u        /* the host must not call it concurrently      */
#define SDP_CAP_DETERMINISTIC 2u /* same inputs give the same bits              */
#define SDP_CAP_FILLS_LEVEL 4u   /* schedules: which of the two they choose     */
#define SDP_CAP_FILLS_SIGMA 8u

typedef struct sdp_descriptor {
  uint32_t struct_size;
  int32_t kind;
  const char *id;      /* "heat_blur"; a third party's: "org.example.motion_blur" */
  const char *version; /* semantic version of the plugin                         */
  const char *summary; /* one line                                               */
  const char *level_unit; /* corruptions: unit of level, "px", ""                */
  const char *example;    /* TOML table body for tests and docs; obligatory where a parameter
                           * is required or the default is too large to test     */
  uint32_t caps, dtypes, devices, n_params;
  const sdp_param *const *params;
  /* exactly the one that `kind` names is non-NULL                               */
  const sdp_corruption_vt *corruption;
  const sdp_schedule_vt *schedule;
  const sdp_model_vt *model;
  const sdp_sampler_vt *sampler;
} sdp_descriptor;

typedef struct sdp_library {
  uint32_t struct_size;
  uint16_t needs_minor; /* lowest host minor that this plugin can live with     */
  uint16_t reserved0;
  const char *license;     /* SPDX expression                                    */
  const char *fingerprint; /* "" or, when it links LibTorch, its build facts     */
  uint32_t n_items, reserved1;
  const sdp_descriptor *const *items;
  const void *(*extension)(const char *id) SDP_NOEXCEPT; /* [optional] */
} sdp_library;

/* The only symbol that a plugin exports.  Must be fast and free of side effects:
 * scanners call it.  Returns static data, or NULL after host->fail().           */
SDP_EXPORT const sdp_library *sdp_plugin_v1(const sdp_host *host, sdp_ctx *ctx);

#if defined(__cplusplus)
}
#endif
#endif /* SDPIPE_PLUGIN_H */
