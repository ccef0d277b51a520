#include "core/host/gpu.hpp"

#include <ATen/Context.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <set>
#include <string_view>

#include "core/base/error.hpp"
#ifdef SDPIPE_CUDA
#include <ATen/detail/CUDAHooksInterface.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include "core/abi/torch_stream.hpp"
#endif

namespace sdpipe {
namespace {

constexpr std::string_view cuda_out_of_memory = "CUDA out of memory. ";
constexpr int least_capability = 8;  // of the kernels in this build

constexpr const char* use_the_cpu = "set run.device = \"cpu\" to compute on the CPU";

c10::impl::VirtualGuardImpl cuda() { return c10::impl::VirtualGuardImpl(at::kCUDA); }

#ifdef SDPIPE_CUDA

// 13020 -> "13.2"
std::string version_text(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

std::string reason_for(cudaError_t error, int driver) {
  if (error == cudaErrorInsufficientDriver && driver == 0)
    return fmt::format("no NVIDIA driver was found; install one, or {}", use_the_cpu);
  if (error == cudaErrorInsufficientDriver)
    return fmt::format("the NVIDIA driver is too old: it is for CUDA {}; install a newer one, or {}",
                       version_text(driver), use_the_cpu);
  if (error == cudaErrorNoDevice) return fmt::format("the NVIDIA driver finds no GPU; {}", use_the_cpu);
  return fmt::format("CUDA says: {}; {}", cudaGetErrorString(error), use_the_cpu);
}

// NCCL comes with LibTorch, whose headers for it need more than its version.
std::string nccl_version() {
  using Function = int (*)(int*);
  const auto get = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, "ncclGetVersion"));
  int version = 0;
  if (!get || get(&version) != 0) return "";
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

// 91002 -> "9.10.2"
std::string cudnn_version() {
  if (!at::detail::getCUDAHooks().hasCuDNN()) return "";
  const long version = at::detail::getCUDAHooks().versionCuDNN();
  return fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
}

GpuSurvey survey() {
  GpuSurvey found;
  int count = 0, driver = 0, runtime = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (cudaDriverGetVersion(&driver) == cudaSuccess && driver > 0) found.driver = version_text(driver);
  if (cudaRuntimeGetVersion(&runtime) == cudaSuccess) found.runtime = version_text(runtime);
  if (error != cudaSuccess || count == 0) {
    found.why_none = reason_for(error == cudaSuccess ? cudaErrorNoDevice : error, driver);
    return found;
  }
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp p;
    const bool is_known = cudaGetDeviceProperties(&p, i) == cudaSuccess;
    found.gpus.push_back(is_known ? Gpu{p.name, p.major, p.minor, p.totalGlobalMem} : Gpu{"unknown"});
  }
  found.cudnn = cudnn_version();
  found.nccl = nccl_version();
  return found;
}

// CUDA starts on a GPU with the first call that needs it, and that call fails where another process holds the GPU.
void start(at::Device device) {
  cudaError_t error = cudaSetDevice(device.index());
  if (error == cudaSuccess) error = cudaFree(nullptr);
  if (error == cudaSuccess) return;
  cudaGetLastError();
  if (error == cudaErrorDevicesUnavailable) {
    throw RunError(fmt::format(
        "{}, is in use by another process, in exclusive mode; wait for that, choose another with run.device = "
        "\"cuda:N\", or {}",
        describe(device), use_the_cpu));
  }
  if (error == cudaErrorMemoryAllocation) {
    throw RunError(
        fmt::format("other processes hold the memory of {}; wait for them, choose another with run.device = "
                    "\"cuda:N\", or {}",
                    describe(device), use_the_cpu));
  }
  throw RunError(fmt::format("{}, cannot be used: {}; {}", describe(device), cudaGetErrorString(error), use_the_cpu));
}

#else

GpuSurvey survey() {
  GpuSurvey none;
  none.why_none =
      fmt::format("this program was built without CUDA; build it with ./script/build --cuda, or {}", use_the_cpu);
  return none;
}

void start(at::Device) {}

#endif

// A GPU's number in "cuda:N"; -1 where the text is something else.
int number_in(const std::string& text) {
  if (!text.starts_with("cuda:") || text.size() == 5 || text.size() > 8) return -1;
  int number = 0;
  for (const char c : text.substr(5)) {
    if (c < '0' || c > '9') return -1;
    number = 10 * number + (c - '0');
  }
  return number;
}

size_t number_of(at::Device device) { return static_cast<size_t>(std::max<int>(device.index(), 0)); }

std::string name_of(at::Device device) {
  const std::vector<Gpu>& gpus = gpu_survey().gpus;
  return number_of(device) < gpus.size() ? gpus[number_of(device)].name : "unknown";
}

bool has_kernels(const Gpu& gpu) { return gpu.major >= least_capability; }

std::string lacks_kernels(size_t number, const Gpu& gpu) {
  return fmt::format("cuda:{}, {}, has compute capability {}.{}, and this build has kernels for {}.0 and newer", number,
                     gpu.name, gpu.major, gpu.minor, least_capability);
}

std::atomic<bool> synchronous{false}, models_may_use_tf32{false};

void allow_tf32(bool allowed) {
  at::globalContext().setAllowTF32CuBLAS(allowed);
  at::globalContext().setAllowTF32CuDNN(allowed);
}

}  // namespace

const GpuSurvey& gpu_survey() {
  static const GpuSurvey found = survey();
  return found;
}

bool is_device_name(const std::string& text) {
  return text == "auto" || text == "cpu" || text == "cuda" || number_in(text) >= 0;
}

std::string why_not_on_a_gpu() {
  const std::vector<Gpu>& gpus = gpu_survey().gpus;
  return gpus.empty() ? gpu_survey().why_none.substr(0, gpu_survey().why_none.find(';')) : lacks_kernels(0, gpus[0]);
}

at::Device device_named(const std::string& text) {
  if (text == "cpu") return at::kCPU;
  const std::vector<Gpu>& gpus = gpu_survey().gpus;
  if (text == "auto") {
    const auto first = std::find_if(gpus.begin(), gpus.end(), has_kernels);
    if (first == gpus.end()) return at::kCPU;
    return {at::kCUDA, static_cast<at::DeviceIndex>(first - gpus.begin())};
  }
  if (gpus.empty()) throw RunError(gpu_survey().why_none);
  const auto number = text == "cuda" ? size_t{0} : static_cast<size_t>(number_in(text));
  if (number >= gpus.size()) {
    throw RunError(gpus.size() == 1
                       ? std::string("this machine has 1 GPU; set run.device to \"cuda:0\"")
                       : fmt::format("this machine has {} GPUs; set run.device to one of \"cuda:0\" to \"cuda:{}\"",
                                     gpus.size(), gpus.size() - 1));
  }
  if (!has_kernels(gpus[number]))
    throw RunError(fmt::format("{}; {}", lacks_kernels(number, gpus[number]), use_the_cpu));
  return {at::kCUDA, static_cast<at::DeviceIndex>(number)};
}

std::string kind_of(at::Device device) { return device.is_cuda() ? "a GPU, " + name_of(device) : "the CPU"; }

std::string describe(at::Device device) {
  return device.is_cuda() ? fmt::format("GPU {}, {}", number_of(device), name_of(device)) : kind_of(device);
}

void set_arithmetic(const Arithmetic& arithmetic, at::Device device) {
  at::Context& context = at::globalContext();
  models_may_use_tf32 = arithmetic.tf32;
  allow_tf32(false);
  context.setBenchmarkCuDNN(!arithmetic.deterministic);
  context.setDeterministicCuDNN(arithmetic.deterministic);
  // Of operators on a GPU; LibTorch's on the CPU repeat by themselves.
  context.setDeterministicAlgorithms(arithmetic.deterministic && device.is_cuda(), /*warn_only=*/false);
  context.setDeterministicFillUninitializedMemory(false);
  // cuBLAS looks at it when it starts; memory of its own for each stream makes its sums repeat.
  if (arithmetic.deterministic) setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
}

ModelArithmetic::ModelArithmetic() {
  if (models_may_use_tf32) allow_tf32(true);
}
ModelArithmetic::~ModelArithmetic() {
  if (models_may_use_tf32) allow_tf32(false);
}

void work_on(at::Device device) {
  if (!device.is_cuda()) return;
  start(device);
  cuda().setDevice(device);
  thread_local std::set<at::DeviceIndex> with_own_stream;
  if (with_own_stream.insert(device.index()).second) cuda().exchangeStream(cuda().getStreamFromGlobalPool(device));
}

#ifdef SDPIPE_CUDA
void* current_stream(at::Device device) {
  if (!device.is_cuda()) return nullptr;
  void* stream = sdp::torch_stream(device);
  return stream ? stream : cudaStreamLegacy;  // the default stream by its other name
}
#else
void* current_stream(at::Device) { return nullptr; }
#endif

void set_synchronous(bool wanted) { synchronous = wanted; }
bool is_synchronous() { return synchronous; }

void wait_for(at::Device device) {
  if (device.is_cuda()) cuda().synchronizeStream(cuda().getStream(device));
}

void require_started(int code, const char* what) {
  if (code == 0) return;
#ifdef SDPIPE_CUDA
  const char* reason = cudaGetErrorString(static_cast<cudaError_t>(code));
#else
  const char* reason = "there is no CUDA in this build";
#endif
  throw PluginError(fmt::format(
      "{}: its CUDA kernel did not start: {}. This build has kernels for GPUs of compute capability {}.0 and "
      "newer; an error of earlier work on the same GPU also shows up here",
      what, reason, least_capability));
}

bool says_out_of_memory(const std::string& reason) { return reason.starts_with(cuda_out_of_memory); }

std::string out_of_memory(const std::string& reason) {
  // LibTorch's second sentence says what was asked for; what follows describes its allocator.
  std::string asked = reason.substr(0, reason.find('\n'));
  if (says_out_of_memory(asked)) asked.erase(0, cuda_out_of_memory.size());
  return fmt::format(
      "the GPU's memory is not enough: {}. Training needs less with a larger train.accumulate, which computes a batch "
      "in more parts with the same result; a run that is begun anew, with --fresh, also with a smaller train.batch, "
      "with "
      "model.checkpoint = true or with run.precision = \"bfloat16\". Sampling and scores need less with a smaller "
      "sample.batch",
      asked.substr(0, asked.find(". ")));
}

}  // namespace sdpipe
