// What plugin.h promises to plugins on a GPU, and what the host does for those that have no code for one.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/ones.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstdlib>

#include "core/abi/plugin.hpp"
#include "core/config/example.hpp"
#include "core/data/source.hpp"
#include "core/diffusion/assembly.hpp"
#include "core/diffusion/calibration.hpp"
#include "core/host/conformance.hpp"
#include "core/host/gpu.hpp"
#include "tests/plugins/parity.hpp"
#include "tests/run/place.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

namespace sdpipe::testing {
namespace {

const at::Device gpu(at::kCUDA, 0), other_gpu(at::kCUDA, 1);

// What a call of a plugin finds.
struct Found {
  int32_t device_type = 0, current = -1;
  void* stream = nullptr;
  bool may_round = false;  // to TF32
};
Found found;

void look(const sdp::Call& call, const sdp_tensor& x) {
  found = {x.device_type, c10::impl::VirtualGuardImpl(at::kCUDA).getDevice().index(), call.stream(),
           at::globalContext().allowTF32CuDNN() && at::globalContext().allowTF32CuBLAS()};
}

struct LookingCorruption {
  double level_max() const { return 1; }
  template <class T>
  void apply(sdp::Call& call, const sdp::Point&, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    look(call, *x.raw());
    call.lincomb(y.raw_mutable(), {1}, {x.raw()});
  }
  template <class T>
  void adjoint(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    apply(call, at, x, y);
  }
};
struct LookingCorruptionOnCpu : LookingCorruption {};

struct LookingModel {
  std::vector<sdp::ModelParam> params() const { return {{"p", {3}, 0}}; }
  void init(sdp::Call& call, const std::vector<sdp_tensor*>& params) const { look(call, *params[0]); }
  void* forward(sdp::Call& call, const sdp_params&, const sdp::Point&, const sdp_tensor* x, sdp_tensor* y,
                uint32_t) const {
    look(call, *x);
    call.lincomb(y, {1}, {x});
    return nullptr;
  }
  void vjp(sdp::Call&, const sdp_params&, const sdp::Point&, const sdp_tensor*, void*, const sdp_tensor*, sdp_tensor*,
           sdp_tensor* const*, uint32_t) const {}
  void release(void*) const noexcept {}
};
struct LookingModelOnCpu : LookingModel {};

struct LookingSchedule {
  void select(sdp::Call&, const sdp::Calibration& data, uint32_t n, double* level, double*) const {
    found.device_type = data.batch(0)->device_type;
    for (uint32_t i = 0; i < n; ++i) level[i] = data.level_max() * i / (n - 1);
  }
};

const std::vector<Plugin>& looking_plugins() {
  static const std::vector<Plugin> all = [] {
    sdp_ctx context("looking");
    auto schedule = sdp::schedule<LookingSchedule>("looking_schedule", "1.0.0", "A test's");
    schedule.caps(SDP_CAP_FILLS_LEVEL);
    const sdp_library* library =
        sdp::detail::library(&host_services(), &context, "Apache-2.0", "",
                             sdp::corruption<LookingCorruption>("looking", "1.0.0", "A test's").devices(SDP_ON_CUDA),
                             sdp::corruption<LookingCorruptionOnCpu>("looking_on_cpu", "1.0.0", "A test's"),
                             sdp::model<LookingModel>("looking_model", "1.0.0", "A test's").devices(SDP_ON_CUDA),
                             sdp::model<LookingModelOnCpu>("looking_model_on_cpu", "1.0.0", "A test's"), schedule);
    std::vector<Plugin> plugins;
    for (uint32_t i = 0; i < library->n_items; ++i) plugins.push_back({library->items[i], "tests/device", "", {}});
    return plugins;
  }();
  return all;
}

const Plugin& looking(const std::string& id) {
  for (const Plugin& plugin : looking_plugins())
    if (plugin.id() == id) return plugin;
  throw std::out_of_range(id);
}

const SampleShape shape = {1, 4, 4};
at::Tensor ones_on(at::Device device) { return at::ones({2, 1, 4, 4}, at::TensorOptions(at::kFloat).device(device)); }

}  // namespace

TEST_CASE("A plugin for GPUs gets tensors there, their GPU as the current one, and a stream that is never null") {
  const auto corruption = make_plugin_corruption(looking("looking"), {}, shape);
  for (const at::Device device : {gpu, other_gpu}) {
    corruption->apply(points({0.5, 1}), ones_on(device));
    CHECK(found.device_type == SDP_DEVICE_CUDA);
    CHECK(found.current == device.index());
    CHECK(found.stream != nullptr);
  }
  corruption->apply(points({0.5, 1}), ones_on(at::kCPU));
  CHECK(found.device_type == SDP_DEVICE_CPU);
  CHECK(found.stream == nullptr);
}

TEST_CASE("A corruption for the CPU alone gets copies in host memory, and what it makes is back on the GPU") {
  const auto corruption = make_plugin_corruption(looking("looking_on_cpu"), {}, shape);
  const at::Tensor y = corruption->apply(points({0.5, 1}), ones_on(other_gpu));
  CHECK(found.device_type == SDP_DEVICE_CPU);
  CHECK(found.stream == nullptr);
  CHECK(y.device() == other_gpu);
  CHECK(y.cpu().equal(ones_on(at::kCPU)));
}

TEST_CASE("init and forward of a model have the GPU of its parameters as the current one") {
  const Model model(looking("looking_model"), {}, shape);
  ParamSet params({at::ones({3}, at::TensorOptions(at::kFloat).device(other_gpu))});
  model.init(params, 1);
  CHECK(found.current == 1);
  const Points at = points({0.5, 1});
  model.forward({params, at}, ones_on(other_gpu));
  CHECK(found.current == 1);
}

TEST_CASE("A trained model for the CPU alone is refused on a GPU, with the reason") {
  const Model model(looking("looking_model_on_cpu"), {}, shape);
  ParamSet params({at::ones({3})});
  const Points at = points({0.5, 1});
  CHECK(failure([&] {
          model.forward({params, at}, ones_on(gpu));
        }) ==
        "plugin \"looking_model_on_cpu\" computes on the CPU alone, and trained models have to compute on the run's "
        "device; set run.device = \"cpu\"");
}

TEST_CASE("Calibration data is in host memory in a run on a GPU too") {
  Place place;
  const Experiment experiment = place.load({"run.device=cuda"});
  const auto source = open_source(data_options(experiment.base));
  const auto corruption = make_corruption(experiment.base, sample_shape(source->shape()));
  const DataCalibration data(*source, *corruption, tensor_options(experiment.base), 16, 8, 0);
  std::vector<double> level;
  Schedule(looking("looking_schedule"), {}).select(data, 5, &level, nullptr);
  CHECK(found.device_type == SDP_DEVICE_CPU);
  CHECK(data.corrupt(0, 1).is_cpu());
}

TEST_CASE("Every built-in plugin keeps the laws of its kind on a GPU, where it computes what it computes on the CPU") {
  Place place(all_samplers);
  for (const Plugin& plugin : place.workspace.registry().plugins()) {
    if (plugin.kind() == SDP_KIND_SCHEDULE) continue;
    const SampleShape small = plugin.kind() == SDP_KIND_MODEL ? SampleShape{3, 8, 8} : SampleShape{3, 8, 6};
    for (const LawResult& law : check_laws(plugin, example_settings(plugin), small, other_gpu)) {
      INFO(plugin.id() << ": " << law.id << ": " << law.detail);
      CHECK(law.holds);
    }
  }
}

TEST_CASE("A network in a TorchScript file computes on a GPU, with what it holds beside its floats") {
  const std::filesystem::path folder = SDPIPE_SOURCE_DIR "/tests/parity/torchscript";
  const Plugin& torchscript = plugin("torchscript");
  for (const std::string name : {"traced", "scripted"}) {
    CAPTURE(name);
    const Settings set = settings(torchscript, "file = \"" + (folder / (name + ".pt")).string() +
                                                   "\"\ncondition = \"level\"\ncondition_scale = 1\n");
    for (const LawResult& law : check_model(torchscript, set, {3, 4, 4}, other_gpu)) {
      INFO(law.id << ": " << law.detail);
      CHECK(law.holds);
    }
  }
}

TEST_CASE("float32 means float32 on a GPU, and tf32 lets a model round, not the host") {
  Place place;
  const Model model(looking("looking_model"), {}, shape);
  ParamSet params({at::ones({3}, at::TensorOptions(at::kFloat).device(gpu))});
  const Points at = points({0.5, 1});
  const auto corruption = make_plugin_corruption(looking("looking"), {}, shape);
  const auto may_round = [&](const std::string& precision) {
    place.workspace.begin_computing(place.load({"run.device=cuda", "run.precision=" + precision}).base);
    corruption->apply(at, ones_on(gpu));
    CHECK_FALSE(found.may_round);
    model.forward({params, at}, ones_on(gpu));
    return found.may_round;
  };
  CHECK_FALSE(may_round("float32"));
  CHECK(may_round("tf32"));
  CHECK_FALSE(may_round("float32"));
}

TEST_CASE("Equal runs give equal bits on a GPU, unless the pipeline says otherwise") {
  Place place;
  at::Context& context = at::globalContext();
  place.workspace.begin_computing(place.load({"run.device=cuda"}).base);
  CHECK(context.deterministicCuDNN());
  CHECK(context.deterministicAlgorithms());
  CHECK_FALSE(context.deterministicAlgorithmsWarnOnly());
  CHECK_FALSE(context.benchmarkCuDNN());
  CHECK(std::string(std::getenv("CUBLAS_WORKSPACE_CONFIG")) == ":4096:8");
  place.workspace.begin_computing(place.load({"run.device=cuda", "run.deterministic=false"}).base);
  CHECK_FALSE(context.deterministicCuDNN());
  CHECK_FALSE(context.deterministicAlgorithms());
  CHECK(context.benchmarkCuDNN());
  place.workspace.begin_computing(place.load({"run.device=cpu"}).base);
  CHECK_FALSE(context.deterministicAlgorithms());
}

TEST_CASE("A workspace that computes on a GPU has a stream of its own there") {
  Place place;
  place.workspace.begin_computing(place.load({"run.device=cuda:1"}).base);
  const c10::impl::VirtualGuardImpl cuda(at::kCUDA);
  CHECK(cuda.getDevice() == other_gpu);
  CHECK(cuda.getStream(other_gpu) != cuda.getDefaultStream(other_gpu));
  CHECK(current_stream(at::kCPU) == nullptr);
  place.workspace.begin_computing(place.load({"run.device=cuda:0"}).base);
}

}  // namespace sdpipe::testing
