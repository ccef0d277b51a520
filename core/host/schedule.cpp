#include <cmath>
#include <limits>
#include <stdexcept>

#include "core/host/border.hpp"

namespace sdpipe {

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

}  // namespace

sdp_calibration calibration_view(const CalibrationData& data) {
  return {sizeof(sdp_calibration), data.n_batches(), data.level_max(), calibration_batch, calibration_corrupt};
}

namespace {

void require_increasing(const Plugin& plugin, std::string_view name, const std::vector<double>& values) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i]) && values[i] >= 0 && (i == 0 || values[i] >= values[i - 1])) continue;
    throw PluginFailure(
        fmt::format("plugin \"{}\": {} must be finite, not negative and never fall, but is {} at t = {:.4g}",
                    plugin.id(), name, values[i], static_cast<double>(i) / static_cast<double>(values.size() - 1)),
        "");
  }
}

constexpr double rounding = 1e-9;  // of the largest level

// A path may end below the corruption's largest level, as DDPM's does.
void require_level_ends(const Plugin& plugin, const std::vector<double>& level, double level_max) {
  if (level.front() == 0 && level.back() <= level_max * (1 + rounding)) return;
  throw PluginFailure(fmt::format("plugin \"{}\": level must begin at 0 and end at {} at most, but goes from {} to {}",
                                  plugin.id(), level_max, level.front(), level.back()),
                      "");
}

// What misses the largest level by rounding is that level: corruptions take none above it, and one that hides all there
// leaves no trace.
void round_to_largest(std::vector<double>& level, double level_max) {
  for (double& l : level) {
    if (l >= level_max * (1 - rounding)) l = level_max;
  }
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
  // One row, apart from the numbers that choose the images by its step, and without a seed: two runs' schedules differ
  // by their data alone.
  constexpr uint64_t row = 0;
  scope.random.purpose = Purpose::calibration;
  scope.random.sample = {&row, 1};
  scope.random.step = 1;
  sdp_ctx context(plugin_.id(), scope);
  const sdp_calibration view = calibration_view(data);
  context.require(plugin_.descriptor->schedule->select(&context, self_.get(), &view, n, level ? level->data() : nullptr,
                                                       sigma ? sigma->data() : nullptr),
                  "select");
  if (level) {
    require_increasing(plugin_, "level", *level);
    require_level_ends(plugin_, *level, data.level_max());
    round_to_largest(*level, data.level_max());
  }
  if (sigma) require_increasing(plugin_, "sigma", *sigma);
}

}  // namespace sdpipe
