#include "tests/host/probes.hpp"

#include <algorithm>
#include <stdexcept>

namespace sdpipe::testing {
namespace {

void copy(const sdp_tensor* x, sdp_tensor* y) {
  const size_t bytes = static_cast<size_t>(sdp::numel(*x)) * x->dtype_bits / 8;
  std::copy_n(static_cast<const char*>(x->data), bytes, static_cast<char*>(y->data));
}

struct ProbeCorruption {
  double level_max() const { return acts().level_max; }
  template <class T>
  void apply(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    if (acts().apply)
      acts().apply(call, at, x.raw(), y.raw_mutable());
    else
      copy(x.raw(), y.raw_mutable());
  }
  template <class T>
  void adjoint(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    if (acts().adjoint)
      acts().adjoint(call, at, x.raw(), y.raw_mutable());
    else
      copy(x.raw(), y.raw_mutable());
  }
};

struct ProbeSchedule {
  void select(sdp::Call& call, const sdp::Calibration& data, uint32_t n, double* level, double* sigma) const {
    acts().select(call, data, n, level, sigma);
  }
};

struct ProbeSampler {
  void step(sdp::Call& call, const sdp::Path& path, uint32_t k, sdp_tensor* x) const { acts().step(call, path, k, x); }
};
struct NarrowSampler : ProbeSampler {};

struct ProbeModel {
  std::vector<sdp::ModelParam> params() const { return acts().params; }
  void init(sdp::Call& call, const std::vector<sdp_tensor*>& params) const { acts().init(call, params); }
  void* forward(sdp::Call& call, const sdp_params& params, const sdp::Point&, const sdp_tensor* x, sdp_tensor* y,
                uint32_t) const {
    if (acts().forward)
      acts().forward(call, params, x, y);
    else
      copy(x, y);
    return acts().saves ? &acts() : nullptr;
  }
  void vjp(sdp::Call& call, const sdp_params&, const sdp::Point&, const sdp_tensor*, void*, const sdp_tensor* gy,
           sdp_tensor* gx, sdp_tensor* const* gparams, uint32_t flags) const {
    acts().vjp(call, gy, gx, gparams, flags);
  }
  void release(void*) const noexcept { ++acts().released; }
};

std::vector<Plugin> make_probes() {
  sdp_ctx context("probes");
  auto schedule = sdp::schedule<ProbeSchedule>("probe", "1.0.0", "A test's");
  schedule.caps(SDP_CAP_FILLS_LEVEL | SDP_CAP_FILLS_SIGMA);
  auto narrow = sdp::sampler<NarrowSampler>("narrow", "1.0.0", "A test's");
  narrow.raw().dtypes = SDP_DTYPE_F32;
  auto corruption = sdp::corruption<ProbeCorruption>("probe", "1.0.0", "A test's");
  corruption.level_unit("px");
  const sdp_library* library = sdp::detail::library(&host_services(), &context, "Apache-2.0", "", corruption, schedule,
                                                    sdp::model<ProbeModel>("probe", "1.0.0", "A test's"),
                                                    sdp::sampler<ProbeSampler>("probe", "1.0.0", "A test's"), narrow);
  std::vector<Plugin> plugins;
  for (uint32_t i = 0; i < library->n_items; ++i)
    plugins.push_back({library->items[i], "tests/host/probes.cpp", "", {}});
  return plugins;
}

const std::vector<Plugin>& probes() {
  static const std::vector<Plugin> plugins = make_probes();
  return plugins;
}

}  // namespace

Acts& acts() {
  static Acts now;
  return now;
}

void reset_acts() { acts() = Acts(); }

const Plugin& probe(int32_t kind) {
  return *std::find_if(probes().begin(), probes().end(), [&](const Plugin& p) { return p.kind() == kind; });
}

const Plugin& narrow_sampler() { return probes().back(); }

Points points(const std::vector<double>& level) {
  Points at;
  for (const double l : level) {
    at.t.push_back(l);
    at.level.push_back(l);
    at.sigma.push_back(0);
    at.key.push_back(100 + at.key.size());
  }
  return at;
}

}  // namespace sdpipe::testing
