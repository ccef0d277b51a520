#include "core/host/services.hpp"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "core/base/log.hpp"
#ifdef SDPIPE_CUDA
#include "core/host/device.hpp"
#endif
#include "core/host/operators.hpp"

namespace sdpipe {
namespace {

at::Tensor tensor_like(const sdp_tensor& like) {
  const at::Tensor view = sdp::as_tensor(&like);
  return at::empty(view.sizes(), view.options());
}

// float or double: the dtypes of samples.
template <class F>
void by_float_type(const at::Tensor& x, F&& f) {
  if (x.scalar_type() == at::kDouble)
    f(double{});
  else if (x.scalar_type() == at::kFloat)
    f(float{});
  else
    throw std::invalid_argument("host services take float32 and float64 tensors");
}

template <class T>
void lincomb_range(T* out, std::span<const double> coef, const std::vector<const T*>& x, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    T sum = 0;
    for (size_t k = 0; k < x.size(); ++k) sum += static_cast<T>(coef[k]) * x[k][i];
    out[i] = sum;
  }
}

constexpr int64_t elements_per_task = 1 << 15;

template <class T>
void lincomb_on_device(at::Tensor& out, std::span<const double> coef, std::span<const at::Tensor> x) {
#ifdef SDPIPE_CUDA
  lincomb_on_gpu<T>(out, coef, x);
#else
  at::Tensor sum = at::zeros_like(out);
  for (size_t i = 0; i < x.size(); ++i) sum.add_(x[i], coef[i]);
  out.copy_(sum);
#endif
}

std::vector<Stream> row_streams(const RandomScope& scope, uint32_t draw) {
  std::vector<Stream> rows;
  for (const uint64_t key : scope.key) rows.push_back({key, Purpose::corruption, 0, 0, draw});
  if (!rows.empty()) return rows;
  for (const uint64_t sample : scope.sample) rows.push_back({scope.seed, scope.purpose, sample, scope.step, draw});
  return rows;
}

template <class T>
void fill_on_cpu(int32_t distribution, std::span<const Stream> rows, at::Tensor& out) {
  const size_t length = static_cast<size_t>(out.numel()) / std::max<size_t>(rows.size(), 1);
  T* first = out.data_ptr<T>();
  at::parallel_for(0, static_cast<int64_t>(rows.size()), 1, [&](int64_t begin, int64_t end) {
    for (size_t b = static_cast<size_t>(begin); b < static_cast<size_t>(end); ++b) {
      const std::span<T> row(first + b * length, length);
      if (distribution == SDP_NORMAL)
        fill_normal(rows[b], row);
      else
        fill_uniform(rows[b], row);
    }
  });
}

template <class T>
void fill_on_device(int32_t distribution, std::span<const Stream> rows, at::Tensor& out) {
#ifdef SDPIPE_CUDA
  fill_on_gpu<T>(distribution, rows, out);
#else
  at::Tensor drawn = at::empty(out.sizes(), out.options().device(at::kCPU));
  fill_on_cpu<T>(distribution, rows, drawn);
  out.copy_(drawn);
#endif
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

void lincomb(at::Tensor& out, std::span<const double> coef, std::span<const at::Tensor> x) {
  for (const at::Tensor& input : x) {
    if (input.sizes() == out.sizes() && input.scalar_type() == out.scalar_type() && input.device() == out.device() &&
        input.is_contiguous())
      continue;
    throw std::invalid_argument("host->lincomb: all tensors must be contiguous, of one shape, dtype and device");
  }
  by_float_type(out, [&](auto zero) {
    using T = decltype(zero);
    if (!out.is_cpu()) return lincomb_on_device<T>(out, coef, x);
    std::vector<const T*> inputs;
    for (const at::Tensor& input : x) inputs.push_back(input.const_data_ptr<T>());
    T* result = out.data_ptr<T>();
    at::parallel_for(0, out.numel(), elements_per_task,
                     [&](int64_t begin, int64_t end) { lincomb_range(result, coef, inputs, begin, end); });
  });
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

void RandomScope::fill(int32_t distribution, uint32_t draw, at::Tensor& out) const {
  if (replacement && (*replacement)(step, draw, out)) return;
  const std::vector<Stream> streams = row_streams(*this, draw);
  // init() fills whole parameters: one stream each, not one per row.
  const int64_t rows = parameters.empty() ? out.size(0) : 1;
  if (static_cast<size_t>(rows) != streams.size()) {
    throw std::invalid_argument(fmt::format(
        "host->random: axis 0 of out must be the batch of this call, {} samples, not {}", streams.size(), rows));
  }
  by_float_type(out, [&](auto zero) {
    using T = decltype(zero);
    out.is_cpu() ? fill_on_cpu<T>(distribution, streams, out) : fill_on_device<T>(distribution, streams, out);
  });
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

sdp_status lincomb_for(sdp_ctx* ctx, sdp_tensor* out, uint32_t n, const double* coef,
                       const sdp_tensor* const* x) noexcept {
  return ctx->guarded([&] {
    at::Tensor result = sdp::as_tensor(out);
    std::vector<at::Tensor> inputs;
    for (uint32_t i = 0; i < n; ++i) inputs.push_back(sdp::as_tensor(x[i]));
    lincomb(result, {coef, n}, inputs);
  });
}

// Inside init: which parameter `out` is, so that each has a stream of its own.
uint64_t parameter_index(std::span<sdp_tensor* const> parameters, const sdp_tensor& out) {
  const auto it =
      std::find_if(parameters.begin(), parameters.end(), [&](const sdp_tensor* p) { return p->data == out.data; });
  return static_cast<uint64_t>(it - parameters.begin());
}

sdp_status random(sdp_ctx* ctx, int32_t distribution, uint32_t draw, sdp_tensor* out) noexcept {
  RandomScope scope = ctx->scope.random;
  if (scope.key.empty() && scope.sample.empty() && scope.parameters.empty()) return not_offered(ctx, "random");
  return ctx->guarded([&] {
    if (draw > 0xFFF) throw std::invalid_argument("host->random: draw must be below 4096");
    if (distribution != SDP_UNIFORM && distribution != SDP_NORMAL)
      throw std::invalid_argument("host->random: unknown distribution");
    at::Tensor result = sdp::as_tensor(out);
    const uint64_t index = parameter_index(scope.parameters, *out);
    if (!scope.parameters.empty()) scope.sample = {&index, 1};
    scope.fill(distribution, draw, result);
  });
}

void* stream([[maybe_unused]] sdp_ctx* ctx) noexcept {
  void* current = nullptr;
#ifdef SDPIPE_CUDA
  ctx->quietly([&] { current = current_stream(ctx->scope.device); });
#endif
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

const void* extension(const char*) noexcept { return nullptr; }

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
  if (status == SDP_OK) return;
  if (status == SDP_E_CANCELLED && scope.cancel && scope.cancel->load()) throw sdpipe::Cancelled();
  const std::string reason = failure.text.empty() ? fmt::format("status {} without a reason", status) : failure.text;
  const std::string key = failure.param.empty() ? "" : fmt::format(" (parameter \"{}\")", failure.param);
  throw sdpipe::PluginFailure(fmt::format("plugin \"{}\": {} failed: {}{}", plugin, what, reason, key), failure.param);
}
