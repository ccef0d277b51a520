/* The layout of version 1.0 of the plugin ABI on 64-bit machines, as plugins that are out there were compiled against
 * it. Nobody edits a line of this file: a struct may only grow behind its last field, and SIZE is the least that it
 * may be. What a later minor version appends gets a file of its own. */
#include "core/abi/plugin.h"

#define SIZE(type, bytes) _Static_assert(sizeof(type) >= (bytes), #type " has shrunk below version 1.0's size")
#define AT(type, field, bytes) _Static_assert(offsetof(type, field) == (bytes), #type "." #field " has moved")

_Static_assert(sizeof(void *) == 8 && sizeof(double) == 8, "a 64-bit machine");
_Static_assert(sizeof(sdp_tensor) == 48, "sdp_tensor is DLPack's DLTensor and never grows");

SIZE(sdp_tensor, 48);
AT(sdp_tensor, data, 0);
AT(sdp_tensor, device_type, 8);
AT(sdp_tensor, device_id, 12);
AT(sdp_tensor, ndim, 16);
AT(sdp_tensor, dtype_code, 20);
AT(sdp_tensor, dtype_bits, 21);
AT(sdp_tensor, dtype_lanes, 22);
AT(sdp_tensor, shape, 24);
AT(sdp_tensor, strides, 32);
AT(sdp_tensor, byte_offset, 40);

SIZE(sdp_point, 40);
AT(sdp_point, struct_size, 0);
AT(sdp_point, batch, 4);
AT(sdp_point, t, 8);
AT(sdp_point, level, 16);
AT(sdp_point, sigma, 24);
AT(sdp_point, key, 32);

SIZE(sdp_host, 120);
AT(sdp_host, struct_size, 0);
AT(sdp_host, abi_major, 4);
AT(sdp_host, abi_minor, 6);
AT(sdp_host, name, 8);
AT(sdp_host, version, 16);
AT(sdp_host, fail, 24);
AT(sdp_host, log, 32);
AT(sdp_host, cancelled, 40);
AT(sdp_host, progress, 48);
AT(sdp_host, scratch, 56);
AT(sdp_host, keep, 64);
AT(sdp_host, lincomb, 72);
AT(sdp_host, random, 80);
AT(sdp_host, stream, 88);
AT(sdp_host, corrupt, 96);
AT(sdp_host, adjoint, 104);
AT(sdp_host, extension, 112);

SIZE(sdp_value, 64);
AT(sdp_value, struct_size, 0);
AT(sdp_value, type, 4);
AT(sdp_value, i, 8);
AT(sdp_value, f, 16);
AT(sdp_value, s, 24);
AT(sdp_value, fv, 32);
AT(sdp_value, iv, 40);
AT(sdp_value, image, 48);
AT(sdp_value, n, 56);
AT(sdp_value, is_set, 60);

SIZE(sdp_param, 72);
AT(sdp_param, struct_size, 0);
AT(sdp_param, type, 4);
AT(sdp_param, flags, 8);
AT(sdp_param, n_choices, 12);
AT(sdp_param, key, 16);
AT(sdp_param, doc, 24);
AT(sdp_param, unit, 32);
AT(sdp_param, min, 40);
AT(sdp_param, max, 48);
AT(sdp_param, def, 56);
AT(sdp_param, choices, 64);

SIZE(sdp_sample_shape, 16);
AT(sdp_sample_shape, struct_size, 0);
AT(sdp_sample_shape, ndim, 4);
AT(sdp_sample_shape, dim, 8);

SIZE(sdp_corruption_vt, 48);
AT(sdp_corruption_vt, struct_size, 0);
AT(sdp_corruption_vt, reserved0, 4);
AT(sdp_corruption_vt, create, 8);
AT(sdp_corruption_vt, destroy, 16);
AT(sdp_corruption_vt, level_max, 24);
AT(sdp_corruption_vt, apply, 32);
AT(sdp_corruption_vt, adjoint, 40);

SIZE(sdp_calibration, 32);
AT(sdp_calibration, struct_size, 0);
AT(sdp_calibration, n_batches, 4);
AT(sdp_calibration, level_max, 8);
AT(sdp_calibration, batch, 16);
AT(sdp_calibration, corrupt, 24);

SIZE(sdp_schedule_vt, 32);
AT(sdp_schedule_vt, struct_size, 0);
AT(sdp_schedule_vt, reserved0, 4);
AT(sdp_schedule_vt, create, 8);
AT(sdp_schedule_vt, destroy, 16);
AT(sdp_schedule_vt, select, 24);

SIZE(sdp_model_param, 88);
AT(sdp_model_param, struct_size, 0);
AT(sdp_model_param, ndim, 4);
AT(sdp_model_param, dim, 8);
AT(sdp_model_param, name, 72);
AT(sdp_model_param, flags, 80);
AT(sdp_model_param, reserved0, 84);

SIZE(sdp_params, 24);
AT(sdp_params, struct_size, 0);
AT(sdp_params, n, 4);
AT(sdp_params, version, 8);
AT(sdp_params, tensor, 16);

SIZE(sdp_model_vt, 80);
AT(sdp_model_vt, struct_size, 0);
AT(sdp_model_vt, reserved0, 4);
AT(sdp_model_vt, create, 8);
AT(sdp_model_vt, destroy, 16);
AT(sdp_model_vt, n_params, 24);
AT(sdp_model_vt, param, 32);
AT(sdp_model_vt, init, 40);
AT(sdp_model_vt, forward, 48);
AT(sdp_model_vt, vjp, 56);
AT(sdp_model_vt, release, 64);
AT(sdp_model_vt, fit, 72);

SIZE(sdp_sampler_env, 48);
AT(sdp_sampler_env, struct_size, 0);
AT(sdp_sampler_env, n_nodes, 4);
AT(sdp_sampler_env, time, 8);
AT(sdp_sampler_env, denoise, 16);
AT(sdp_sampler_env, corrupt, 24);
AT(sdp_sampler_env, adjoint, 32);
AT(sdp_sampler_env, sigma, 40);

SIZE(sdp_sampler_vt, 48);
AT(sdp_sampler_vt, struct_size, 0);
AT(sdp_sampler_vt, reserved0, 4);
AT(sdp_sampler_vt, create, 8);
AT(sdp_sampler_vt, destroy, 16);
AT(sdp_sampler_vt, begin, 24);
AT(sdp_sampler_vt, step, 32);
AT(sdp_sampler_vt, end, 40);

SIZE(sdp_descriptor, 104);
AT(sdp_descriptor, struct_size, 0);
AT(sdp_descriptor, kind, 4);
AT(sdp_descriptor, id, 8);
AT(sdp_descriptor, version, 16);
AT(sdp_descriptor, summary, 24);
AT(sdp_descriptor, level_unit, 32);
AT(sdp_descriptor, example, 40);
AT(sdp_descriptor, caps, 48);
AT(sdp_descriptor, dtypes, 52);
AT(sdp_descriptor, devices, 56);
AT(sdp_descriptor, n_params, 60);
AT(sdp_descriptor, params, 64);
AT(sdp_descriptor, corruption, 72);
AT(sdp_descriptor, schedule, 80);
AT(sdp_descriptor, model, 88);
AT(sdp_descriptor, sampler, 96);

SIZE(sdp_library, 48);
AT(sdp_library, struct_size, 0);
AT(sdp_library, needs_minor, 4);
AT(sdp_library, reserved0, 6);
AT(sdp_library, license, 8);
AT(sdp_library, fingerprint, 16);
AT(sdp_library, n_items, 24);
AT(sdp_library, reserved1, 28);
AT(sdp_library, items, 32);
AT(sdp_library, extension, 40);

_Static_assert(SDP_ABI_MAJOR == 1, "another major version has another entry symbol");
_Static_assert(SDP_OK == 0 && SDP_E_INVALID == 1 && SDP_E_UNSUPPORTED == 2 && SDP_E_NOMEM == 3 && SDP_E_CANCELLED == 4 &&
                   SDP_E_DEVICE == 5 && SDP_E_INTERNAL == 6, "a status has changed");
_Static_assert(SDP_KIND_CORRUPTION == 1 && SDP_KIND_SCHEDULE == 2 && SDP_KIND_MODEL == 3 && SDP_KIND_SAMPLER == 4, "a kind has changed");
_Static_assert(SDP_P_BOOL == 1 && SDP_P_INT == 2 && SDP_P_FLOAT == 3 && SDP_P_STRING == 4 && SDP_P_CHOICE == 5 &&
                   SDP_P_FLOATS == 6 && SDP_P_INTS == 7 && SDP_P_IMAGE == 8, "a parameter type has changed");
_Static_assert(SDP_PF_REQUIRED == 1 && SDP_PF_EXCLUSIVE_MIN == 2 && SDP_PF_EXCLUSIVE_MAX == 4, "a parameter flag has changed");
_Static_assert(SDP_CAP_SERIAL == 1 && SDP_CAP_DETERMINISTIC == 2 && SDP_CAP_FILLS_LEVEL == 4 && SDP_CAP_FILLS_SIGMA == 8, "a capability has changed");
_Static_assert(SDP_DTYPE_F32 == 1 && SDP_DTYPE_F64 == 2 && SDP_DTYPE_F16 == 4 && SDP_DTYPE_BF16 == 8, "a dtype bit has changed");
_Static_assert(SDP_ON_CPU == 1 && SDP_ON_CUDA == 2 && SDP_DEVICE_CPU == 1 && SDP_DEVICE_CUDA == 2, "a device has changed");
_Static_assert(SDP_UNIFORM == 0 && SDP_NORMAL == 1, "a distribution has changed");
_Static_assert(SDP_FWD_TRAIN == 1 && SDP_FWD_SAVE == 2 && SDP_VJP_LAST == 1, "a flag of the model has changed");
_Static_assert(SDP_PARAM_FROZEN == 1 && SDP_PARAM_KEEP_F32 == 2, "a flag of the model's parameters has changed");
