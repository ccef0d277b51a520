// What the host lends to a plugin during one call: the functions of sdp_host and the sdp_ctx behind them.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/abi/plugin.h"
#include "core/abi/tensor.hpp"
#include "core/base/error.hpp"
#include "core/base/random.hpp"

namespace sdpipe {

class Corruption;
class CalibrationData;
class SamplerPath;
struct Plugin;

// The static table that every plugin receives.
const sdp_host& host_services();

// Tensors with a memory (host->keep): slot -> tensor.
class Kept {
 public:
  sdp_tensor* get(uint32_t slot, const sdp_tensor& like);

 private:
  struct Entry {
    at::Tensor tensor;
    std::unique_ptr<sdp::TensorView> view;
  };
  std::map<uint32_t, Entry> entries_;
};

// What host->random draws from during a call: one stream per sample of the batch, all but `draw`.
struct RandomScope {
  uint64_t seed = 0;
  Purpose purpose = Purpose::test;
  std::span<const uint64_t> sample;  // per row of the batch; inside apply and adjoint: empty
  uint32_t step = 0;
  std::span<const uint64_t> key;            // inside apply and adjoint: per row, in place of the seed
  std::span<sdp_tensor* const> parameters;  // inside init: the stream of the parameter that is filled
  // Tests replace the noise by known values to measure the response to it: return false to draw as usual.
  std::function<bool(uint32_t step, uint32_t draw, at::Tensor& out)>* replacement = nullptr;

  // Throws std::invalid_argument where `out` does not have one row per sample.
  void fill(int32_t distribution, uint32_t draw, at::Tensor& out) const;
  // The stream of every row of `out`; throws likewise.
  std::vector<Stream> streams(uint32_t draw, const at::Tensor& out) const;
};

// Everything a call may use. What is null is not offered there.
struct CallScope {
  RandomScope random;
  const Corruption* corruption = nullptr;
  const CalibrationData* calibration = nullptr;
  const SamplerPath* path = nullptr;
  Kept* kept = nullptr;
  const std::atomic<bool>* cancel = nullptr;
  std::function<void(double)> progress;
  at::Device device = at::kCPU;  // of the call's tensors, whose current stream is host->stream
};

// A plugin's call failed. `param` names a key of its schema, or is empty.
struct PluginFailure : PluginError {
  PluginFailure(const std::string& text, std::string key) : PluginError(text), param(std::move(key)) {}
  std::string param;
};

// A plugin returned SDP_E_CANCELLED after host->cancelled() said so.
struct Cancelled : std::exception {
  const char* what() const noexcept override { return "cancelled"; }
};

// Copies a result into memory that a plugin lent; throws std::invalid_argument where shape or dtype differ.
void copy_out(const at::Tensor& value, sdp_tensor* out);

// The plugin that this thread is in, or null; for a crash handler.
const char* plugin_of_this_thread();

}  // namespace sdpipe

// One call on one thread.
struct sdp_ctx {
  explicit sdp_ctx(std::string plugin_name, sdpipe::CallScope call_scope = {});
  ~sdp_ctx();
  sdp_ctx(const sdp_ctx&) = delete;
  sdp_ctx& operator=(const sdp_ctx&) = delete;

  // Throws what went wrong: the host's own exception that a callback held back, or the plugin's reason. `what` says
  // what was called: "apply". std::invalid_argument from a callback is a misuse of the service: it becomes the
  // plugin's failure. So does any error that the plugin was told of and kept to itself.
  void require(sdp_status status, std::string_view what);
  // Runs a host function that a plugin called; exceptions wait in `held_back` until the plugin has returned.
  template <class F>
  sdp_status guarded(F&& f) noexcept;
  // The same for host functions without a status, where the plugin cannot know.
  template <class F>
  void quietly(F&& f) noexcept;

  std::string plugin;
  sdpipe::CallScope scope;
  struct {
    sdp_status code = SDP_OK;
    std::string param, text;
  } failure;
  std::exception_ptr held_back;  // the first
  bool told = false;             // did the plugin get a status for it?
  struct Scratch {
    at::Tensor tensor;
    std::unique_ptr<sdp::TensorView> view;
  };
  std::deque<Scratch> scratch;

 private:
  const char* outer_plugin_;  // the one whose call led here
  [[noreturn]] void raise_held_back(sdp_status status, std::string_view what);
  void require_done(std::string_view what) const;
};

template <class F>
sdp_status sdp_ctx::guarded(F&& f) noexcept {
  try {
    f();
    return SDP_OK;
  } catch (const sdpipe::Cancelled&) {
    if (!held_back) held_back = std::current_exception();
    told = true;
    return SDP_E_CANCELLED;
  } catch (...) {
    if (!held_back) held_back = std::current_exception();
    told = true;
    return SDP_E_INTERNAL;
  }
}

template <class F>
void sdp_ctx::quietly(F&& f) noexcept {
  try {
    f();
  } catch (...) {
    if (!held_back) held_back = std::current_exception();
  }
}
