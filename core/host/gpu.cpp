#include "core/host/gpu.hpp"

#include <ATen/Context.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include <atomic>
#include <cstdlib>
#include <set>

#include "core/base/error.hpp"
#ifdef SDPIPE_CUDA
#include <ATen/detail/CUDAHooksInterface.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#endif

namespace sdpipe {
namespace {

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
  const long version = at::detail::getCUDAHooks().versionRuntimeCuDNN();
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
    if (cudaGetDeviceProperties(&p, i) != cudaSuccess) continue;
    found.gpus.push_back({p.name, fmt::format("{}.{}", p.major, p.minor), p.totalGlobalMem});
  }
  found.cudnn = cudnn_version();
  found.nccl = nccl_version();
  return found;
}

// CUDA starts on a GPU with the first call that needs it, and fails there where another process holds it.
void start(at::Device device) {
  const cudaError_t error = cudaFree(nullptr);
  if (error == cudaSuccess) return;
  cudaGetLastError();
  if (error == cudaErrorDevicesUnavailable) {
    throw RunError(fmt::format(
        "{}, is in use by another process, in exclusive mode; wait for that, choose another with run.device = "
        "\"cuda:N\", or {}",
        describe(device), use_the_cpu));
  }
  if (error == cudaErrorMemoryAllocation) throw RunError(out_of_memory("CUDA cannot start on " + describe(device)));
  throw RunError(fmt::format("{} cannot be used: {}; {}", describe(device), cudaGetErrorString(error), use_the_cpu));
}

#else

GpuSurvey survey() {
  GpuSurvey none;
  none.why_none = fmt::format("this program was built without CUDA; build it with ./script/build --cuda, or {}",
                              use_the_cpu);
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

std::atomic<bool> synchronous{false};

}  // namespace

const GpuSurvey& gpu_survey() {
  static const GpuSurvey found = survey();
  return found;
}

bool is_device_name(const std::string& text) {
  return text == "auto" || text == "cpu" || text == "cuda" || number_in(text) >= 0;
}

at::Device device_named(const std::string& text) {
  const size_t count = text == "cpu" ? 0 : gpu_survey().gpus.size();
  if (text == "cpu" || (text == "auto" && count == 0)) return at::kCPU;
  if (count == 0) throw RunError(gpu_survey().why_none);
  const int number = text == "auto" || text == "cuda" ? 0 : number_in(text);
  if (static_cast<size_t>(number) >= count) {
    throw RunError(fmt::format("this machine has {}; set run.device to \"cuda:{}\" or a lower number",
                               count == 1 ? "1 GPU, cuda:0" : fmt::format("{} GPUs, cuda:0 to cuda:{}", count, count - 1),
                               count - 1));
  }
  return {at::kCUDA, static_cast<at::DeviceIndex>(number)};
}

std::string describe(at::Device device) {
  if (!device.is_cuda()) return "the CPU";
  const auto number = static_cast<size_t>(std::max<int>(device.index(), 0));
  const std::vector<Gpu>& gpus = gpu_survey().gpus;
  return fmt::format("GPU {}, {}", number, number < gpus.size() ? gpus[number].name : "unknown");
}

void set_arithmetic(const Arithmetic& arithmetic) {
  at::Context& context = at::globalContext();
  context.setAllowTF32CuBLAS(arithmetic.tf32);
  context.setAllowTF32CuDNN(arithmetic.tf32);
  context.setBenchmarkCuDNN(!arithmetic.deterministic);
  context.setDeterministicCuDNN(arithmetic.deterministic);
  // cuBLAS looks at it when it starts; memory of its own for each stream makes its sums repeat.
  if (arithmetic.deterministic) setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
}

void work_on(at::Device device) {
  if (!device.is_cuda()) return;
  cuda().setDevice(device);
  start(device);
  thread_local std::set<at::DeviceIndex> with_own_stream;
  if (with_own_stream.insert(device.index()).second) cuda().exchangeStream(cuda().getStreamFromGlobalPool(device));
}

void* current_stream(at::Device device) {
  if (!device.is_cuda()) return nullptr;
  void* stream = cuda().getStream(device).native_handle();
#ifdef SDPIPE_CUDA
  if (!stream) return cudaStreamLegacy;  // the default stream by its other name
#endif
  return stream;
}

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
      "{}: its CUDA kernel did not start: {}. This build has kernels for GPUs of compute capability 8.0 and "
      "newer; an error of earlier work on the same GPU also shows up here",
      what, reason));
}

std::string out_of_memory(const std::string& reason) {
  // LibTorch's second sentence says what was asked for; what follows describes its allocator.
  constexpr std::string_view first_sentence = "CUDA out of memory. ";
  std::string asked = reason.substr(0, reason.find('\n'));
  if (asked.starts_with(first_sentence)) asked.erase(0, first_sentence.size());
  return fmt::format(
      "the GPU's memory is not enough: {}. Training needs less with a smaller train.batch; with train.accumulate, which "
      "computes a batch in parts and gives the same result; with model.checkpoint = true; or with run.precision = "
      "\"bfloat16\". Sampling and scores need less with a smaller sample.batch",
      asked.substr(0, asked.find(". ")));
}

}  // namespace sdpipe
