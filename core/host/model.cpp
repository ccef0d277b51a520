#include <ATen/ops/empty_like.h>
#include <c10/core/DeviceGuard.h>

#include "core/base/memory.hpp"
#include "core/host/border.hpp"
#include "core/host/gpu.hpp"

namespace sdpipe {

namespace {
uint64_t next_version() {
  static std::atomic<uint64_t> version{0};
  return ++version;
}
}  // namespace

ParamSet::ParamSet(std::vector<at::Tensor> tensors) : tensors_(std::move(tensors)), version_(next_version()) {
  for (const at::Tensor& t : tensors_) {
    views_.push_back(std::make_unique<sdp::TensorView>(t));
    pointers_.push_back(views_.back()->get());
  }
}

void ParamSet::changed() { version_ = next_version(); }

sdp_params ParamSet::view() const {
  return {sizeof(sdp_params), static_cast<uint32_t>(pointers_.size()), version_, pointers_.data()};
}

SavedForward::SavedForward(SavedForward&& other) noexcept
    : model_(other.model_),
      saved_(other.saved_),
      live_(std::exchange(other.live_, false)),
      kept_(std::move(other.kept_)) {}

SavedForward::~SavedForward() {
  if (!live_ || !saved_) return;
  std::unique_lock lock(model_->serial_, std::defer_lock);
  if (model_->plugin_.has(SDP_CAP_SERIAL)) lock.lock();
  model_->plugin_.descriptor->model->release(model_->self_.get(), saved_);
}

namespace {

// A name is the key in checkpoints: twice the same would lose one tensor there.
void require_sound(const Plugin& plugin, const sdp_model_param& p, const std::vector<ModelParamInfo>& before) {
  const auto refuse = [&](std::string_view why) {
    throw PluginFailure(fmt::format("plugin \"{}\": its parameter \"{}\" {}", plugin.id(), p.name, why), "");
  };
  if (!*p.name || std::string_view(p.name) == "__metadata__") refuse("has a name that checkpoints cannot hold");
  for (const ModelParamInfo& other : before) {
    if (other.name == p.name) refuse("shares its name with another");
  }
  int64_t numel = 1;
  for (int32_t i = 0; i < p.ndim; ++i) {
    if (p.dim[i] < 0 || __builtin_mul_overflow(numel, p.dim[i], &numel)) refuse("has an impossible shape");
  }
}

void require_offered(const Plugin& plugin, const ParamSet& params) {
  for (const at::Tensor& p : params.tensors()) {
    if (plugin.descriptor->dtypes & dtype_bit(p.scalar_type())) continue;
    throw PluginFailure(fmt::format("plugin \"{}\" does not offer parameters in {}; set run.precision to another",
                                    plugin.id(), p.scalar_type() == at::kBFloat16 ? "bfloat16" : "this dtype"),
                        "");
  }
}

}  // namespace

Model::Model(const Plugin& plugin, const Settings& settings, const SampleShape& sample)
    : plugin_(plugin), sample_(sample) {
  const AbiValues values(plugin.schema, settings);
  const sdp_model_vt& table = *plugin.descriptor->model;
  const sdp_sample_shape shape = shape_view(sample);
  self_ = instance(
      plugin, [&](sdp_ctx* ctx, void** self) { return table.create(ctx, &shape, values.values(), self); },
      table.destroy);
  const uint32_t n = table.n_params(self_.get());
  for (uint32_t i = 0; i < n; ++i) {
    sdp_model_param p{};
    p.struct_size = sizeof(sdp_model_param);
    if (table.param(self_.get(), i, &p) != SDP_OK || !p.name || p.ndim < 0 || p.ndim > 8) {
      throw PluginFailure(fmt::format("plugin \"{}\": parameter {} cannot be described", plugin.id(), i), "");
    }
    require_sound(plugin, p, params_);
    params_.push_back(
        {p.name, {p.dim, p.dim + p.ndim}, (p.flags & SDP_PARAM_FROZEN) != 0, (p.flags & SDP_PARAM_KEEP_F32) != 0});
  }
  return_freed_memory();  // layers of LibTorch draw initial values that nobody uses: as much as the weights
}

bool Model::is_fitted() const { return SDP_HAS(plugin_.descriptor->model, sdp_model_vt, fit); }

bool Model::offers(at::ScalarType dtype) const { return (plugin_.descriptor->dtypes & dtype_bit(dtype)) != 0; }

at::Device Model::parameter_device(at::Device device) const {
  return is_staged(plugin_, device) ? at::Device(at::kCPU) : device;
}

// A trained model's forward and gradient would spend their time in copies.
void Model::require_device(at::Device device) const {
  if (is_fitted() || !is_staged(plugin_, device)) return;
  throw PluginFailure(fmt::format("plugin \"{}\" computes on the CPU alone, and trained models have to compute on the "
                                  "run's device; set run.device = \"cpu\"",
                                  plugin_.id()),
                      "");
}

void Model::init(const ParamSet& params, uint64_t seed) const {
  require_device(params.device());
  const c10::DeviceGuard on_its_device(params.device());
  CallScope scope;
  scope.random.seed = seed;
  scope.random.purpose = Purpose::init;
  scope.random.parameters = params.pointers();
  scope.device = params.device();
  sdp_ctx context(plugin_.id(), scope);
  context.require(plugin_.descriptor->model->init(
                      &context, self_.get(), static_cast<uint32_t>(params.pointers().size()), params.pointers().data()),
                  "init");
}

void Model::fit(const ParamSet& params, const CalibrationData& data, const Corruption& corruption,
                const std::atomic<bool>* cancel) const {
  const c10::DeviceGuard on_its_device(params.device());
  CallScope scope;
  scope.cancel = cancel;
  scope.calibration = &data;
  scope.corruption = &corruption;
  scope.device = params.device();
  sdp_ctx context(plugin_.id(), scope);
  const sdp_calibration view = calibration_view(data);
  context.require(
      plugin_.descriptor->model->fit(&context, self_.get(), &view, static_cast<uint32_t>(params.pointers().size()),
                                     params.pointers().data()),
      "fit");
}

at::Tensor Model::run_forward(const ModelCall& call, const at::Tensor& x_in, Kept* kept, void** saved) const {
  require_input(plugin_, sample_, call.at, x_in);
  require_offered(plugin_, call.params);
  require_device(x_in.device());
  const at::Tensor x = for_plugin(x_in.to(parameter_device(x_in.device())));
  const c10::DeviceGuard on_its_device(x.device());
  const at::Tensor y = at::empty_like(x);
  const sdp::TensorView x_view(x), y_view(y);
  sdp_ctx context(plugin_.id(), call.scope);
  context.scope.kept = kept;
  context.scope.device = x.device();
  const sdp_point point = call.at.view();
  const sdp_params params = call.params.view();
  const uint32_t flags = (call.train ? SDP_FWD_TRAIN : 0) | (saved ? SDP_FWD_SAVE : 0);
  const ModelArithmetic as_it_may_round;
  std::unique_lock lock(serial_, std::defer_lock);
  if (plugin_.has(SDP_CAP_SERIAL)) lock.lock();
  context.require(plugin_.descriptor->model->forward(&context, self_.get(), &params, &point, x_view.get(), y_view.get(),
                                                     flags, saved),
                  "forward");
  return y.to(x_in.device());
}

// In training every step is checked elsewhere, and what follows is the pipeline's choice (train.on_nonfinite).
at::Tensor Model::forward(const ModelCall& call, const at::Tensor& x) const {
  at::Tensor y = run_forward(call, x, nullptr, nullptr);
  if (!call.train) finite_.require(plugin_, "forward", x, y);
  return y;
}

std::pair<at::Tensor, SavedForward> Model::forward_saving(const ModelCall& call, const at::Tensor& x) const {
  SavedForward saved(*this);
  at::Tensor y = run_forward(call, x, saved.kept_.get(), &saved.saved_);
  saved.live_ = true;  // before the check: what it throws at must be released
  if (!call.train) finite_.require(plugin_, "forward", x, y);
  return {std::move(y), std::move(saved)};
}

at::Tensor Model::vjp(const ModelCall& call, const at::Tensor& x_in, SavedForward& saved, const at::Tensor& gy_in,
                      const ParamSet* gradients, bool want_gx, bool last) const {
  require_input(plugin_, sample_, call.at, gy_in);
  const at::Device device = parameter_device(x_in.device());
  const at::Tensor x = for_plugin(x_in.to(device)), gy = for_plugin(gy_in.to(device));
  const c10::DeviceGuard on_its_device(x.device());
  const at::Tensor gx = want_gx ? at::empty_like(x) : at::Tensor();
  std::unique_ptr<sdp::TensorView> gx_view;
  if (want_gx) gx_view = std::make_unique<sdp::TensorView>(gx);
  const sdp::TensorView x_view(x), gy_view(gy);
  sdp_ctx context(plugin_.id(), call.scope);
  context.scope.kept = saved.kept_.get();
  context.scope.device = x.device();
  const sdp_point point = call.at.view();
  const sdp_params params = call.params.view();
  // None of what is frozen: there a set of gradients may share the memory of the parameters themselves.
  std::vector<sdp_tensor*> wanted(params_.size(), nullptr);
  for (size_t i = 0; gradients && i < wanted.size(); ++i)
    if (!params_[i].frozen) wanted[i] = gradients->pointers()[i];
  const ModelArithmetic as_it_may_round;
  std::unique_lock lock(serial_, std::defer_lock);
  if (plugin_.has(SDP_CAP_SERIAL)) lock.lock();
  context.require(
      plugin_.descriptor->model->vjp(&context, self_.get(), &params, &point, x_view.get(), saved.saved_, gy_view.get(),
                                     want_gx ? gx_view->get() : nullptr, wanted.data(), last ? SDP_VJP_LAST : 0),
      "vjp");
  return want_gx ? gx.to(x_in.device()) : gx;
}

}  // namespace sdpipe
