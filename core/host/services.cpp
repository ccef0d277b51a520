#include "core/host/services.hpp"

#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "core/abi/noise.h"
#include "core/base/log.hpp"
#include "core/host/arithmetic.hpp"
#include "core/host/gpu.hpp"
#include "core/host/operators.hpp"

namespace sdpipe {
namespace {

at::Tensor tensor_like(const sdp_tensor& like) {
  const at::Tensor view = sdp::as_tensor(&like);
  return at::empty(view.sizes(), view.options());
}

}  // namespace

void copy_out(const at::Tensor& value, sdp_tensor* out) {
  at::Tensor target = sdp::as_tensor(out);
  if (target.sizes() != value.sizes() || target.scalar_type() != value.scalar_type()) {
    throw std::invalid_argument(fmt::format("the output has shape [{}], expected [{}] and the dtype of the input",
                                            fmt::join(target.sizes(), ", "), fmt::join(value.sizes(), ", ")));
  }
  target.copy_(value);
}

sdp_tensor* Kept::get(uint32_t slot, const sdp_tensor& like) {
  Entry& entry = entries_[slot];
  if (!entry.view) {
    entry.tensor = tensor_like(like).zero_();
    entry.view = std::make_unique<sdp::TensorView>(entry.tensor);
  }
  if (entry.tensor.sizes() != sdp::as_tensor(&like).sizes())
    throw std::invalid_argument(fmt::format("host->keep: slot {} has another shape", slot));
  return entry.view->get();
}

namespace {

sdp_status fail(sdp_ctx* ctx, sdp_status code, const char* param, const char* text) noexcept {
  try {
    ctx->failure = {code, param ? param : "", text ? text : ""};
  } catch (...) {
    ctx->held_back = std::current_exception();
  }
  return code;
}

void log_for(sdp_ctx* ctx, int32_t level, const char* text) noexcept {
  ctx->quietly([&] {
    log(static_cast<LogLevel>(std::clamp(level, 0, 3)), fmt::format("{}: {}", ctx->plugin, text ? text : ""));
  });
}

int32_t cancelled(sdp_ctx* ctx) noexcept { return ctx->scope.cancel && ctx->scope.cancel->load(); }

void progress(sdp_ctx* ctx, double fraction) noexcept {
  if (ctx->scope.progress) ctx->quietly([&] { ctx->scope.progress(fraction); });
}

sdp_status scratch(sdp_ctx* ctx, const sdp_tensor* like, sdp_tensor** out) noexcept {
  return ctx->guarded([&] {
    const at::Tensor tensor = tensor_like(*like);
    ctx->scratch.push_back({tensor, std::make_unique<sdp::TensorView>(tensor)});
    *out = ctx->scratch.back().view->get();
  });
}

sdp_status not_offered(sdp_ctx* ctx, const char* service) noexcept {
  return fail(ctx, SDP_E_UNSUPPORTED, nullptr, fmt::format("host->{} is not offered in this call", service).c_str());
}

sdp_status keep(sdp_ctx* ctx, uint32_t slot, const sdp_tensor* like, sdp_tensor** out) noexcept {
  if (!ctx->scope.kept) return not_offered(ctx, "keep");
  return ctx->guarded([&] { *out = ctx->scope.kept->get(slot, *like); });
}

std::vector<at::Tensor> tensors_of(uint32_t n, const sdp_tensor* const* x) {
  std::vector<at::Tensor> tensors;
  for (uint32_t i = 0; i < n; ++i) tensors.push_back(sdp::as_tensor(x[i]));
  return tensors;
}

sdp_status lincomb_for(sdp_ctx* ctx, sdp_tensor* out, uint32_t n, const double* coef,
                       const sdp_tensor* const* x) noexcept {
  return ctx->guarded([&] {
    at::Tensor result = sdp::as_tensor(out);
    lincomb(result, {coef, n}, tensors_of(n, x));
  });
}

// Inside init: which parameter `out` is, so that each has a stream of its own.
uint64_t parameter_index(std::span<sdp_tensor* const> parameters, const sdp_tensor& out) {
  const auto it =
      std::find_if(parameters.begin(), parameters.end(), [&](const sdp_tensor* p) { return p->data == out.data; });
  return static_cast<uint64_t>(it - parameters.begin());
}

// Calls f with what `out` is drawn from.
template <class F>
sdp_status drawing(sdp_ctx* ctx, uint32_t draw, const sdp_tensor& out, F&& f) noexcept {
  RandomScope scope = ctx->scope.random;
  if (scope.key.empty() && scope.sample.empty() && scope.parameters.empty()) return not_offered(ctx, "random");
  return ctx->guarded([&] {
    if (draw > 0xFFF) throw std::invalid_argument("host->random: draw must be below 4096");
    const uint64_t index = parameter_index(scope.parameters, out);
    if (!scope.parameters.empty()) scope.sample = {&index, 1};
    f(scope);
  });
}

sdp_status random(sdp_ctx* ctx, int32_t distribution, uint32_t draw, sdp_tensor* out) noexcept {
  return drawing(ctx, draw, *out, [&](const RandomScope& scope) {
    if (distribution != SDP_UNIFORM && distribution != SDP_NORMAL)
      throw std::invalid_argument("host->random: unknown distribution");
    at::Tensor result = sdp::as_tensor(out);
    scope.fill(distribution, draw, result);
  });
}

sdp_status noisy_lincomb(sdp_ctx* ctx, sdp_tensor* out, uint32_t n, const double* coef, const sdp_tensor* const* x,
                         double std, uint32_t draw) noexcept {
  return drawing(ctx, draw, *out, [&](const RandomScope& scope) {
    at::Tensor result = sdp::as_tensor(out);
    lincomb_with_noise(result, {coef, n}, tensors_of(n, x), std, scope, draw);
  });
}

void* stream(sdp_ctx* ctx) noexcept {
  void* current = nullptr;
  ctx->quietly([&] { current = current_stream(ctx->scope.device); });
  return current;
}

sdp_status with_corruption(sdp_ctx* ctx, const sdp_point* at, const sdp_tensor* x, sdp_tensor* y,
                           bool transposed) noexcept {
  if (!ctx->scope.corruption) return not_offered(ctx, transposed ? "adjoint" : "corrupt");
  return ctx->guarded([&] {
    const Points points = Points::copy_of(*at);
    const at::Tensor input = sdp::as_tensor(x);
    const Corruption& c = *ctx->scope.corruption;
    copy_out(transposed ? c.adjoint(points, input) : c.apply(points, input), y);
  });
}

sdp_status corrupt(sdp_ctx* ctx, const sdp_point* at, const sdp_tensor* x, sdp_tensor* y) noexcept {
  return with_corruption(ctx, at, x, y, false);
}
sdp_status adjoint(sdp_ctx* ctx, const sdp_point* at, const sdp_tensor* x, sdp_tensor* y) noexcept {
  return with_corruption(ctx, at, x, y, true);
}

const void* extension(const char* id) noexcept {
  static const sdp_noise noise = {sizeof(sdp_noise), 0, noisy_lincomb};
  return std::string_view(id) == SDP_NOISE ? &noise : nullptr;
}

}  // namespace

const sdp_host& host_services() {
  static const sdp_host host = {sizeof(sdp_host), SDP_ABI_MAJOR, SDP_ABI_MINOR, "sdpipe", SDPIPE_VERSION, fail,
                                log_for,          cancelled,     progress,      scratch,  keep,           lincomb_for,
                                random,           stream,        corrupt,       adjoint,  extension};
  return host;
}

namespace {
thread_local const char* current_plugin = nullptr;
}
const char* plugin_of_this_thread() { return current_plugin; }

}  // namespace sdpipe

sdp_ctx::sdp_ctx(std::string plugin_name, sdpipe::CallScope call_scope)
    : plugin(std::move(plugin_name)), scope(std::move(call_scope)), outer_plugin_(sdpipe::current_plugin) {
  sdpipe::current_plugin = plugin.c_str();
}

sdp_ctx::~sdp_ctx() { sdpipe::current_plugin = outer_plugin_; }

// Work on a GPU may fail after the call that queued it.
void sdp_ctx::require_done(std::string_view what) const {
  if (!scope.device.is_cuda() || !sdpipe::is_synchronous()) return;
  try {
    sdpipe::wait_for(scope.device);
  } catch (const std::exception& e) {
    const auto* error = dynamic_cast<const c10::Error*>(&e);
    throw sdpipe::PluginFailure(fmt::format("plugin \"{}\": {} failed on the GPU: {}", plugin, what,
                                            error ? error->what_without_backtrace() : e.what()),
                                "");
  }
}

void sdp_ctx::raise_held_back(sdp_status status, std::string_view what) {
  try {
    std::rethrow_exception(std::exchange(held_back, nullptr));
  } catch (const sdpipe::Cancelled&) {
    throw;
  } catch (const std::invalid_argument& e) {
    throw sdpipe::PluginFailure(fmt::format("plugin \"{}\": {} failed: {}", plugin, what, e.what()), "");
  } catch (const std::exception& e) {
    if (status != SDP_OK || !told) throw;
    throw sdpipe::PluginFailure(
        fmt::format("plugin \"{}\": {} went on as if nothing were wrong after this error: {}", plugin, what, e.what()),
        "");
  }
}

void sdp_ctx::require(sdp_status status, std::string_view what) {
  if (held_back) raise_held_back(status, what);
  if (status == SDP_OK) return require_done(what);
  if (status == SDP_E_CANCELLED && scope.cancel && scope.cancel->load()) throw sdpipe::Cancelled();
  const std::string reason = failure.text.empty() ? fmt::format("status {} without a reason", status) : failure.text;
  if (status == SDP_E_NOMEM && sdpipe::says_out_of_memory(reason)) {
    throw sdpipe::PluginFailure(
        fmt::format("plugin \"{}\": {} failed: {}", plugin, what, sdpipe::out_of_memory(reason)), "");
  }
  const std::string key = failure.param.empty() ? "" : fmt::format(" (parameter \"{}\")", failure.param);
  throw sdpipe::PluginFailure(fmt::format("plugin \"{}\": {} failed: {}{}", plugin, what, reason, key), failure.param);
}
