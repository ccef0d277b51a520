// Plugins that do what a test tells them to, called through the C ABI like any other but made inside the test program.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/abi/plugin.hpp"
#include "core/host/operators.hpp"

namespace sdpipe::testing {

using ApplyAct = std::function<void(sdp::Call&, const sdp::Point&, const sdp_tensor* x, sdp_tensor* y)>;
using SelectAct = std::function<void(sdp::Call&, const sdp::Calibration&, uint32_t n, double* level, double* sigma)>;
using StepAct = std::function<void(sdp::Call&, const sdp::Path&, uint32_t k, sdp_tensor* x)>;
using ForwardAct = std::function<void(sdp::Call&, const sdp_params&, const sdp_tensor* x, sdp_tensor* y)>;
using FillAct = std::function<void(sdp::Call&, const std::vector<sdp_tensor*>&)>;
using VjpAct =
    std::function<void(sdp::Call&, const sdp_tensor* gy, sdp_tensor* gx, sdp_tensor* const* gparams, uint32_t flags)>;

// What the probes do; set anew by every test.
struct Acts {
  double level_max = 1;
  ApplyAct apply, adjoint;
  SelectAct select;
  StepAct step;
  ForwardAct forward;
  VjpAct vjp;
  FillAct init;
  std::vector<sdp::ModelParam> params;
  bool saves = false;  // forward hands out a pointer
  int released = 0;    // pointers given back
};
Acts& acts();
void reset_acts();

// float32 and float64 corruption, schedule filling both, sampler, model without fit; float32-only sampler.
const Plugin& probe(int32_t kind);
const Plugin& narrow_sampler();

// Points at `level` with keys 100, 101 ...
Points points(const std::vector<double>& level);

}  // namespace sdpipe::testing
