#include "core/host/operators.hpp"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/isfinite.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <limits>
#include <stdexcept>

namespace sdpipe {
namespace {

#ifdef NDEBUG
std::atomic<uint32_t> finite_check{64};
#else
std::atomic<uint32_t> finite_check{1};
#endif

uint32_t dtype_bit(at::ScalarType dtype) {
  return dtype == at::kDouble ? SDP_DTYPE_F64 : dtype == at::kFloat ? SDP_DTYPE_F32 : 0;
}

void require_dtype(const Plugin& plugin, const at::Tensor& x) {
  if (plugin.descriptor->dtypes & dtype_bit(x.scalar_type())) return;
  throw PluginFailure(fmt::format("plugin \"{}\" does not offer {}; set run.precision to another", plugin.id(),
                                  x.scalar_type() == at::kDouble ? "float64" : "this dtype"),
                      "");
}

// As the ABI promises: C-contiguous, and aligned to 64 bytes, which a slice of a batch need not be.
at::Tensor for_plugin(const at::Tensor& x) {
  const at::Tensor y = x.contiguous();
  return reinterpret_cast<uintptr_t>(y.const_data_ptr()) % 64 == 0 ? y : y.clone();
}

void require_input(const Plugin& plugin, const SampleShape& sample, const Points& at, const at::Tensor& x) {
  SampleShape expected = {static_cast<int64_t>(at.size())};
  expected.insert(expected.end(), sample.begin(), sample.end());
  if (x.sizes() != at::IntArrayRef(expected)) {
    throw PluginFailure(fmt::format("plugin \"{}\": the input has shape [{}], expected [{}]", plugin.id(),
                                    fmt::join(x.sizes(), ", "), fmt::join(expected, ", ")),
                        "");
  }
  require_dtype(plugin, x);
}

sdp_sample_shape shape_view(const SampleShape& sample) {
  return {sizeof(sdp_sample_shape), static_cast<int32_t>(sample.size()), sample.data()};
}

// Creates an instance; `make` is the table's create with everything but ctx and self bound.
template <class Make>
std::shared_ptr<void> instance(const Plugin& plugin, Make make, void (*destroy)(void*) noexcept) {
  sdp_ctx context(plugin.id());
  void* self = nullptr;
  const sdp_status status = make(&context, &self);
  context.require(status, "create");
  return std::shared_ptr<void>(self, destroy);
}

}  // namespace

void set_finite_check(uint32_t n) { finite_check = n; }

void FiniteCheck::require(const Plugin& plugin, std::string_view what, const at::Tensor& y) const {
  const uint32_t every = finite_check.load(std::memory_order_relaxed);
  if (every == 0 || calls_.fetch_add(1, std::memory_order_relaxed) % every != 0) return;
  if (at::isfinite(y).all().item<bool>()) return;
  throw PluginFailure(fmt::format("plugin \"{}\": {} returned values that are not finite", plugin.id(), what), "");
}

sdp_point Points::view() const {
  return {sizeof(sdp_point), static_cast<uint32_t>(size()), t.data(), level.data(), sigma.data(), key.data()};
}

Points Points::copy_of(const sdp_point& p) {
  const size_t n = p.batch;
  return {{p.t, p.t + n}, {p.level, p.level + n}, {p.sigma, p.sigma + n}, {p.key, p.key + n}};
}

/* ---------------------------------------------------------------- corruption */

namespace {

class PluginCorruption : public Corruption {
 public:
  PluginCorruption(const Plugin& plugin, const Settings& settings, const SampleShape& sample)
      : plugin_(plugin), table_(*plugin.descriptor->corruption), sample_(sample) {
    const AbiValues values(plugin.schema, settings);
    const sdp_sample_shape shape = shape_view(sample);
    self_ = instance(
        plugin, [&](sdp_ctx* ctx, void** self) { return table_.create(ctx, &shape, values.values(), self); },
        table_.destroy);
    level_max_ = table_.level_max(self_.get());
    if (!(level_max_ > 0) || !std::isfinite(level_max_)) {
      throw PluginFailure(
          fmt::format("plugin \"{}\": level_max is {}, it must be positive and finite", plugin.id(), level_max_), "");
    }
  }
  double level_max() const override { return level_max_; }
  std::string level_unit() const override {
    return plugin_.descriptor->level_unit ? plugin_.descriptor->level_unit : "";
  }
  at::Tensor apply(const Points& at, const at::Tensor& x) const override {
    return call({table_.apply, "apply", apply_finite_}, at, x);
  }
  at::Tensor adjoint(const Points& at, const at::Tensor& x) const override {
    return call({table_.adjoint, "adjoint", adjoint_finite_}, at, x);
  }

 private:
  struct Function {
    decltype(sdp_corruption_vt::apply) run;
    std::string_view name;
    const FiniteCheck& finite;
  };

  at::Tensor call(const Function& function, const Points& at, const at::Tensor& x_in) const {
    require_input(plugin_, sample_, at, x_in);
    require_levels(at);
    // A plugin for the CPU alone also serves a run on a GPU, through a copy.
    const bool staged = !x_in.is_cpu() && !(plugin_.descriptor->devices & SDP_ON_CUDA);
    const at::Tensor x = for_plugin(staged ? x_in.cpu() : x_in);
    const at::Tensor y = at::empty_like(x);
    const sdp::TensorView x_view(x), y_view(y);
    CallScope scope;
    scope.random.purpose = Purpose::corruption;
    scope.random.key = at.key;
    scope.device = x.device();
    sdp_ctx context(plugin_.id(), scope);
    const sdp_point point = at.view();
    std::unique_lock lock(serial_, std::defer_lock);
    if (plugin_.has(SDP_CAP_SERIAL)) lock.lock();
    context.require(function.run(&context, self_.get(), &point, x_view.get(), y_view.get()), function.name);
    function.finite.require(plugin_, function.name, y);
    return staged ? y.to(x_in.device()) : y;
  }

  void require_levels(const Points& at) const {
    for (const double level : at.level) {
      if (level >= 0 && level <= level_max_ * (1 + 1e-12)) continue;
      throw PluginFailure(fmt::format("plugin \"{}\": level {} is outside 0 to {}", plugin_.id(), level, level_max_),
                          "");
    }
  }

  const Plugin& plugin_;
  const sdp_corruption_vt& table_;
  SampleShape sample_;
  std::shared_ptr<void> self_;
  double level_max_ = 0;
  FiniteCheck apply_finite_, adjoint_finite_;
  mutable std::mutex serial_;
};

}  // namespace

std::unique_ptr<Corruption> make_plugin_corruption(const Plugin& plugin, const Settings& settings,
                                                   const SampleShape& sample) {
  return std::make_unique<PluginCorruption>(plugin, settings, sample);
}

/* ------------------------------------------------------------------ schedule */

namespace {

void require_batch(sdp_ctx* ctx, uint32_t k) {
  const uint32_t n = ctx->scope.calibration->n_batches();
  if (k >= n) throw std::invalid_argument(fmt::format("it asks for batch {} of {} batches of calibration data", k, n));
}

// The plugin's view of CalibrationData; batches are borrowed until the call returns.
sdp_status calibration_batch(sdp_ctx* ctx, uint32_t k, const sdp_tensor** x) noexcept {
  return ctx->guarded([&] {
    require_batch(ctx, k);
    ctx->scratch.push_back({for_plugin(ctx->scope.calibration->batch(k)), nullptr});
    sdp_ctx::Scratch& last = ctx->scratch.back();
    last.view = std::make_unique<sdp::TensorView>(last.tensor);
    *x = last.view->get();
  });
}

sdp_status calibration_corrupt(sdp_ctx* ctx, uint32_t k, double level, sdp_tensor* y) noexcept {
  return ctx->guarded([&] {
    require_batch(ctx, k);
    copy_out(ctx->scope.calibration->corrupt(k, level), y);
  });
}

sdp_calibration calibration_view(const CalibrationData& data) {
  return {sizeof(sdp_calibration), data.n_batches(), data.level_max(), calibration_batch, calibration_corrupt};
}

void require_increasing(const Plugin& plugin, std::string_view name, const std::vector<double>& values) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i]) && values[i] >= 0 && (i == 0 || values[i] >= values[i - 1])) continue;
    throw PluginFailure(
        fmt::format("plugin \"{}\": {} must be finite, not negative and never fall, but is {} at t = {:.4g}",
                    plugin.id(), name, values[i], static_cast<double>(i) / static_cast<double>(values.size() - 1)),
        "");
  }
}

void require_level_ends(const Plugin& plugin, const std::vector<double>& level, double level_max) {
  if (level.front() == 0 && std::abs(level.back() - level_max) <= 1e-9 * level_max) return;
  throw PluginFailure(fmt::format("plugin \"{}\": level must go from 0 to {}, but goes from {} to {}", plugin.id(),
                                  level_max, level.front(), level.back()),
                      "");
}

}  // namespace

Schedule::Schedule(const Plugin& plugin, const Settings& settings) : plugin_(plugin) {
  const AbiValues values(plugin.schema, settings);
  const sdp_schedule_vt& table = *plugin.descriptor->schedule;
  self_ = instance(
      plugin, [&](sdp_ctx* ctx, void** self) { return table.create(ctx, values.values(), self); }, table.destroy);
}

void Schedule::select(const CalibrationData& data, uint32_t n, std::vector<double>* level, std::vector<double>* sigma,
                      const std::atomic<bool>* cancel) const {
  // NaN shows what the plugin has not written.
  if (level) level->assign(n, std::numeric_limits<double>::quiet_NaN());
  if (sigma) sigma->assign(n, std::numeric_limits<double>::quiet_NaN());
  CallScope scope;
  scope.calibration = &data;
  scope.cancel = cancel;
  sdp_ctx context(plugin_.id(), scope);
  const sdp_calibration view = calibration_view(data);
  context.require(plugin_.descriptor->schedule->select(&context, self_.get(), &view, n, level ? level->data() : nullptr,
                                                       sigma ? sigma->data() : nullptr),
                  "select");
  if (level) {
    require_increasing(plugin_, "level", *level);
    require_level_ends(plugin_, *level, data.level_max());
    level->back() = data.level_max();
  }
  if (sigma) require_increasing(plugin_, "sigma", *sigma);
}

/* --------------------------------------------------------------------- model */

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
    params_.push_back(
        {p.name, {p.dim, p.dim + p.ndim}, (p.flags & SDP_PARAM_FROZEN) != 0, (p.flags & SDP_PARAM_KEEP_F32) != 0});
  }
}

bool Model::is_fitted() const { return SDP_HAS(plugin_.descriptor->model, sdp_model_vt, fit); }

bool Model::offers(at::ScalarType dtype) const { return (plugin_.descriptor->dtypes & dtype_bit(dtype)) != 0; }

void Model::init(const ParamSet& params, uint64_t seed) const {
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

void Model::fit(const ParamSet& params, const CalibrationData& data, const Corruption& corruption) const {
  CallScope scope;
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
  const at::Tensor x = for_plugin(x_in);
  const at::Tensor y = at::empty_like(x);
  const sdp::TensorView x_view(x), y_view(y);
  sdp_ctx context(plugin_.id(), call.scope);
  context.scope.kept = kept;
  context.scope.device = x.device();
  const sdp_point point = call.at.view();
  const sdp_params params = call.params.view();
  const uint32_t flags = (call.train ? SDP_FWD_TRAIN : 0) | (saved ? SDP_FWD_SAVE : 0);
  std::unique_lock lock(serial_, std::defer_lock);
  if (plugin_.has(SDP_CAP_SERIAL)) lock.lock();
  context.require(plugin_.descriptor->model->forward(&context, self_.get(), &params, &point, x_view.get(), y_view.get(),
                                                     flags, saved),
                  "forward");
  finite_.require(plugin_, "forward", y);
  return y;
}

at::Tensor Model::forward(const ModelCall& call, const at::Tensor& x) const {
  return run_forward(call, x, nullptr, nullptr);
}

std::pair<at::Tensor, SavedForward> Model::forward_saving(const ModelCall& call, const at::Tensor& x) const {
  SavedForward saved(*this);
  at::Tensor y = run_forward(call, x, saved.kept_.get(), &saved.saved_);
  saved.live_ = true;
  return {std::move(y), std::move(saved)};
}

at::Tensor Model::vjp(const ModelCall& call, const at::Tensor& x_in, SavedForward& saved, const at::Tensor& gy_in,
                      const ParamSet* gradients, bool want_gx, bool last) const {
  require_input(plugin_, sample_, call.at, gy_in);
  const at::Tensor x = for_plugin(x_in), gy = for_plugin(gy_in);
  const at::Tensor gx = want_gx ? at::empty_like(x) : at::Tensor();
  std::unique_ptr<sdp::TensorView> gx_view;
  if (want_gx) gx_view = std::make_unique<sdp::TensorView>(gx);
  const sdp::TensorView x_view(x), gy_view(gy);
  sdp_ctx context(plugin_.id(), call.scope);
  context.scope.kept = saved.kept_.get();
  context.scope.device = x.device();
  const sdp_point point = call.at.view();
  const sdp_params params = call.params.view();
  const std::vector<sdp_tensor*> none(params_.size(), nullptr);
  sdp_tensor* const* wanted = gradients ? gradients->pointers().data() : none.data();
  std::unique_lock lock(serial_, std::defer_lock);
  if (plugin_.has(SDP_CAP_SERIAL)) lock.lock();
  context.require(
      plugin_.descriptor->model->vjp(&context, self_.get(), &params, &point, x_view.get(), saved.saved_, gy_view.get(),
                                     want_gx ? gx_view->get() : nullptr, wanted, last ? SDP_VJP_LAST : 0),
      "vjp");
  return gx;
}

/* ------------------------------------------------------------------- sampler */

namespace {

const SamplerPath& path_of(sdp_ctx* ctx) { return *ctx->scope.path; }

sdp_status path_denoise(sdp_ctx* ctx, double t, const sdp_tensor* x, sdp_tensor* x0) noexcept {
  return ctx->guarded([&] { copy_out(path_of(ctx).denoise(t, sdp::as_tensor(x)), x0); });
}
sdp_status path_corrupt(sdp_ctx* ctx, double t, const sdp_tensor* x, sdp_tensor* y) noexcept {
  return ctx->guarded([&] { copy_out(path_of(ctx).corrupt(t, sdp::as_tensor(x)), y); });
}
sdp_status path_adjoint(sdp_ctx* ctx, double t, const sdp_tensor* x, sdp_tensor* y) noexcept {
  return ctx->guarded([&] { copy_out(path_of(ctx).adjoint(t, sdp::as_tensor(x)), y); });
}
double path_sigma(sdp_ctx* ctx, double t) noexcept {
  double sigma = std::numeric_limits<double>::quiet_NaN();
  ctx->quietly([&] { sigma = path_of(ctx).sigma(t); });
  return sigma;
}

sdp_sampler_env env_view(const SamplerPath& path) {
  return {sizeof(sdp_sampler_env),
          static_cast<uint32_t>(path.nodes().size()),
          path.nodes().data(),
          path_denoise,
          path_corrupt,
          path_adjoint,
          path_sigma};
}

}  // namespace

Sampler::Sampler(const Plugin& plugin, const Settings& settings) : plugin_(plugin) {
  const AbiValues values(plugin.schema, settings);
  const sdp_sampler_vt& table = *plugin.descriptor->sampler;
  self_ = instance(
      plugin, [&](sdp_ctx* ctx, void** self) { return table.create(ctx, values.values(), self); }, table.destroy);
}

sdp_ctx SamplerRun::context(uint32_t k) {
  CallScope scope;
  scope.random = random_;
  scope.random.step = k;
  scope.path = &path_;
  scope.kept = &kept_;
  scope.cancel = cancel_;
  scope.device = x_.device();
  return sdp_ctx(sampler_.plugin_.id(), scope);
}

SamplerRun::SamplerRun(const Sampler& sampler, const SamplerPath& path, const RandomScope& random, at::Tensor x,
                       const std::atomic<bool>* cancel)
    : sampler_(sampler), path_(path), random_(random), x_(for_plugin(x)), cancel_(cancel) {
  require_dtype(sampler.plugin_, x_);
  sdp_ctx ctx = context(static_cast<uint32_t>(path.nodes().size()));
  const sdp_sampler_env env = env_view(path);
  const sdp::TensorView x_view(x_);
  ctx.require(sampler.plugin_.descriptor->sampler->begin(&ctx, sampler.self_.get(), &env, x_view.get(), &run_),
              "begin");
}

SamplerRun::~SamplerRun() { sampler_.plugin_.descriptor->sampler->end(sampler_.self_.get(), run_); }

void SamplerRun::step(uint32_t k) {
  sdp_ctx ctx = context(k);
  const sdp_sampler_env env = env_view(path_);
  const sdp::TensorView x_view(x_);
  ctx.require(sampler_.plugin_.descriptor->sampler->step(&ctx, sampler_.self_.get(), &env, run_, k, x_view.get()),
              "step");
  finite_.require(sampler_.plugin_, "step", x_);
}

}  // namespace sdpipe
