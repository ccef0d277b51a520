// NVIDIA GPUs: which there are, which one a run uses, and how the host works on it. In builds without SDPIPE_CUDA there
// is none.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

namespace sdpipe {

struct Gpu {
  std::string name;          // "NVIDIA H200"
  int major = 0, minor = 0;  // its compute capability
  size_t memory = 0;         // bytes
};

struct GpuSurvey {
  std::vector<Gpu> gpus;
  std::string why_none;                      // where there is none: the reason and what to do, without a full stop
  std::string driver, runtime, cudnn, nccl;  // versions of CUDA and its libraries; empty where there is none
};

// What this machine and this build offer; looked at once.
const GpuSurvey& gpu_survey();

// The device that run.device = "cpu", "cuda", "cuda:N" or "auto" means here. "auto" is the first GPU that this build
// has kernels for, where there is one. Throws RunError with the reason where the GPU asked for cannot be used.
at::Device device_named(const std::string& text);
bool is_device_name(const std::string& text);
// Why "auto" is the CPU here.
std::string why_not_on_a_gpu();

// "the CPU", or "GPU 0, NVIDIA H200".
std::string describe(at::Device device);
// "the CPU", or "a GPU, NVIDIA H200": devices of one kind compute the same bits.
std::string kind_of(at::Device device);

// How the arithmetic of a run on `device` is done, from now on in this process.
struct Arithmetic {
  bool tf32 = false;          // may a model on a GPU round the factors of products in float32 to TF32?
  bool deterministic = true;  // equal inputs give equal bits, at some cost on a GPU
};
void set_arithmetic(const Arithmetic& arithmetic, at::Device device);

// While it lives, products are rounded as set_arithmetic allows for models; the host's own mathematics is never.
class ModelArithmetic {
 public:
  ModelArithmetic();
  ~ModelArithmetic();
  ModelArithmetic(const ModelArithmetic&) = delete;
  ModelArithmetic& operator=(const ModelArithmetic&) = delete;
};

// From now on this thread computes on `device`: it is LibTorch's current one, with a stream of the host's own. CUDA's
// default stream would not do: CUDA graphs cannot capture it, and its handle is null. Throws RunError where the GPU is
// in use by another process in exclusive mode.
void work_on(at::Device device);

// The cudaStream_t that LibTorch uses now on this thread for `device`: null for the CPU, and for it alone.
void* current_stream(at::Device device);

// With `synchronous`, each call of a plugin on a GPU ends with a wait, so that an error of its kernels is told as its
// own.
void set_synchronous(bool synchronous);
bool is_synchronous();
// Waits until all that is queued on the device's current stream is done; throws c10::Error where some of it failed.
void wait_for(at::Device device);

// Throws PluginError unless `code`, what a launcher returned, is 0; `what` says what its kernel is for.
void require_started(int code, const char* what);

// Is this LibTorch's text where a GPU's memory is not enough? And what to do then.
bool says_out_of_memory(const std::string& reason);
std::string out_of_memory(const std::string& reason);

}  // namespace sdpipe
