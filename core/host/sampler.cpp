#include <c10/core/DeviceGuard.h>

#include <limits>

#include "core/host/border.hpp"

namespace sdpipe {

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

// The path for a sampler that computes on the CPU alone: what it asks for is done where the run computes.
class StagedPath : public SamplerPath {
 public:
  StagedPath(const SamplerPath& path, at::Device device) : path_(path), device_(device) {}
  const std::vector<double>& nodes() const override { return path_.nodes(); }
  at::Tensor denoise(double t, const at::Tensor& x) const override { return path_.denoise(t, x.to(device_)).cpu(); }
  at::Tensor corrupt(double t, const at::Tensor& x) const override { return path_.corrupt(t, x.to(device_)).cpu(); }
  at::Tensor adjoint(double t, const at::Tensor& x) const override { return path_.adjoint(t, x.to(device_)).cpu(); }
  double sigma(double t) const override { return path_.sigma(t); }

 private:
  const SamplerPath& path_;
  at::Device device_;
};

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
  scope.path = &path();
  scope.kept = &kept_;
  scope.cancel = cancel_;
  scope.device = x_.device();
  return sdp_ctx(sampler_.plugin_.id(), scope);
}

SamplerRun::SamplerRun(const Sampler& sampler, const SamplerPath& path, const RandomScope& random, at::Tensor x,
                       const std::atomic<bool>* cancel)
    : sampler_(sampler), path_(path), random_(random), device_(x.device()), cancel_(cancel) {
  const bool staged = is_staged(sampler.plugin_, device_);
  x_ = for_plugin(staged ? x.cpu() : x);
  if (staged) staged_path_ = std::make_unique<StagedPath>(path, device_);
  require_dtype(sampler.plugin_, x_);
  const c10::DeviceGuard on_its_device(x_.device());
  sdp_ctx ctx = context(static_cast<uint32_t>(path.nodes().size()));
  const sdp_sampler_env env = env_view(this->path());
  const sdp::TensorView x_view(x_);
  ctx.require(sampler.plugin_.descriptor->sampler->begin(&ctx, sampler.self_.get(), &env, x_view.get(), &run_),
              "begin");
}

const SamplerPath& SamplerRun::path() const { return staged_path_ ? *staged_path_ : path_; }

at::Tensor SamplerRun::x() const { return x_.to(device_); }

SamplerRun::~SamplerRun() { sampler_.plugin_.descriptor->sampler->end(sampler_.self_.get(), run_); }

void SamplerRun::step(uint32_t k) {
  const c10::DeviceGuard on_its_device(x_.device());
  const at::Tensor before = finite_.is_due() ? x_.clone() : x_;  // the step overwrites it
  sdp_ctx ctx = context(k);
  const sdp_sampler_env env = env_view(path());
  const sdp::TensorView x_view(x_);
  ctx.require(sampler_.plugin_.descriptor->sampler->step(&ctx, sampler_.self_.get(), &env, run_, k, x_view.get()),
              "step");
  finite_.require(sampler_.plugin_, "step", before, x_);
}

}  // namespace sdpipe
