#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <fmt/format.h>

#include <thread>

#include "core/abi/fingerprint.hpp"
#include "core/abi/plugin.h"
#include "core/base/cpu.hpp"
#include "core/cli/verbs.hpp"
#include "core/host/gpu.hpp"
#include "core/report/numbers.hpp"

namespace sdpipe {

namespace {

std::string known(const std::string& version) { return version.empty() ? "not found" : version; }

void print_gpus() {
  const GpuSurvey& survey = gpu_survey();
  for (size_t i = 0; i < survey.gpus.size(); ++i) {
    const Gpu& gpu = survey.gpus[i];
    fmt::print("{:<13} cuda:{}, {}, compute capability {}.{}, {}\n", i == 0 ? "GPUs" : "", i, gpu.name, gpu.major,
               gpu.minor, readable_memory(gpu.memory));
  }
  if (survey.gpus.empty()) fmt::print("GPUs          none: {}\n", survey.why_none);
  if (!survey.gpus.empty()) {
    fmt::print("CUDA          {}, the driver's {}, cuDNN {}, NCCL {}\n", survey.runtime, survey.driver,
               known(survey.cudnn), known(survey.nccl));
  }
  fmt::print("a run uses    {}, unless run.device says otherwise\n", describe(device_named("auto")));
}

}  // namespace

int doctor(Workspace& workspace) {
  fmt::print("sdpipe        {}\n", SDPIPE_VERSION);
  fmt::print("plugin ABI    {}.{}\n", SDP_ABI_MAJOR, SDP_ABI_MINOR);
  fmt::print("LibTorch      {}\n", SDP_FINGERPRINT);
  fmt::print("CPU           {} cores, kernels for {}\n", std::thread::hardware_concurrency(), at::get_cpu_capability());
  fmt::print("bfloat16      {}\n", multiplies_bfloat16()
                                       ? "multiplied by this CPU: run.precision = \"bfloat16\" is fast"
                                       : "not multiplied by this CPU: slower here than float32");
  fmt::print("threads       {}\n", at::get_num_threads());
  print_gpus();
  fmt::print("plugins       {} found\n", workspace.registry().plugins().size());
  for (const auto& folder : default_plugin_folders())
    fmt::print("              {}{}\n", folder.string(), std::filesystem::is_directory(folder) ? "" : " (not there)");
  return workspace.registry().warnings().empty() ? 0 : static_cast<int>(Exit::plugin);
}

}  // namespace sdpipe
