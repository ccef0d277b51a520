#include <ATen/ops/empty_like.h>
#include <c10/core/DeviceGuard.h>

#include <cmath>

#include "core/host/border.hpp"

namespace sdpipe {

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
    const bool staged = is_staged(plugin_, x_in.device());
    const at::Tensor x = for_plugin(staged ? x_in.cpu() : x_in);
    const c10::DeviceGuard on_its_device(x.device());
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
    function.finite.require(plugin_, function.name, x, y);
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

}  // namespace sdpipe
