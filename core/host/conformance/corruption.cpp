#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>

#include <cmath>

#include "core/host/conformance/measure.hpp"

namespace sdpipe {

using namespace conformance;

namespace {

constexpr int64_t batch = 7;

struct Subject {
  const Corruption& c;
  Points at;
  SampleShape shape;
  at::ScalarType dtype;
  at::Device device;
  std::string suffix;  // ".float32"
  double bound;
  at::Tensor noise(uint32_t draw) const { return random_batch(batch, shape, dtype, draw).to(device); }
};

// C(a x + b y) = a C x + b C y
LawResult linearity(const Subject& s) {
  return bounded("corruption.linearity" + s.suffix, s.bound, [&] {
    const at::Tensor x = s.noise(1), y = s.noise(2);
    const at::Tensor left = s.c.apply(s.at, 0.75 * x - 1.5 * y);
    return norm(left - (0.75 * s.c.apply(s.at, x) - 1.5 * s.c.apply(s.at, y))) / (norm(x) + norm(y));
  });
}

// <C x, y> = <x, C^T y>, sample by sample, so that errors of one sample cannot hide behind another.
LawResult adjoint(const Subject& s) {
  return bounded("corruption.adjoint" + s.suffix, s.bound, [&] {
    const at::Tensor x = s.noise(1), y = s.noise(2);
    const at::Tensor cx = s.c.apply(s.at, x), cty = s.c.adjoint(s.at, y);
    double worst = 0;
    for (int64_t b = 0; b < batch; ++b) {
      const double gap = std::abs(dot(cx[b], y[b]) - dot(x[b], cty[b])) / (norm(x[b]) * norm(y[b]));
      worst = largest({worst, gap});
    }
    return worst;
  });
}

// C(0) = C(0)^T = I
LawResult identity_at_zero(const Subject& s) {
  return bounded("corruption.identity_at_zero" + s.suffix, s.bound, [&] {
    Points at = s.at;
    at.level.assign(batch, 0.0);
    const at::Tensor x = s.noise(3);
    return largest({relative_difference(s.c.apply(at, x), x), relative_difference(s.c.adjoint(at, x), x)});
  });
}

// A sample's result does not depend on its neighbours in the batch.
LawResult batch_equals_single(const Subject& s) {
  return bounded("corruption.batch_equals_single" + s.suffix, 1e-6, [&] {
    const at::Tensor x = s.noise(4);
    const at::Tensor whole = s.c.apply(s.at, x), whole_adjoint = s.c.adjoint(s.at, x);
    double worst = 0;
    for (int64_t b = 0; b < batch; ++b) {
      const Points at = row(s.at, static_cast<size_t>(b));
      const at::Tensor one = x.slice(0, b, b + 1).contiguous();
      worst = largest({worst, relative_difference(s.c.apply(at, one)[0], whole[b]),
                       relative_difference(s.c.adjoint(at, one)[0], whole_adjoint[b])});
    }
    return worst;
  });
}

// Same inputs, same bits; and the input is left as it was.
LawResult repeatable(const Subject& s) {
  return stated("corruption.repeatable" + s.suffix, [&]() -> std::string {
    const at::Tensor x = s.noise(5), before = x.clone();
    const at::Tensor first = s.c.apply(s.at, x);
    if (!x.equal(before)) return "apply wrote into its input";
    if (!at::isfinite(first).all().item<bool>()) return "apply gave values that are not finite";
    if (!s.c.apply(s.at, x).equal(first)) return "apply gave different values for equal inputs";
    s.c.adjoint(s.at, x);
    return x.equal(before) ? "" : "adjoint wrote into its input";
  });
}

// On a GPU the plugin computes what it computes on the CPU.
LawResult same_as_on_cpu(const Subject& s) {
  return bounded("corruption.same_as_on_cpu" + s.suffix, s.bound, [&] {
    const at::Tensor x = s.noise(6);
    return largest({relative_difference(s.c.apply(s.at, x).cpu(), s.c.apply(s.at, x.cpu())),
                    relative_difference(s.c.adjoint(s.at, x).cpu(), s.c.adjoint(s.at, x.cpu()))});
  });
}

}  // namespace

std::vector<LawResult> check_corruption(const Plugin& plugin, const Settings& settings, const SampleShape& shape,
                                        at::Device device) {
  std::vector<LawResult> results;
  const auto corruption = make_plugin_corruption(plugin, settings, shape);
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const bool is_double = dtype == at::kDouble;
    if (is_double && !(plugin.descriptor->dtypes & SDP_DTYPE_F64)) continue;
    const Subject s{*corruption,
                    mixed_points(batch, corruption->level_max()),
                    shape,
                    dtype,
                    device,
                    is_double ? ".float64" : ".float32",
                    is_double ? float64_bound : float32_bound};
    for (const auto law : {linearity, adjoint, identity_at_zero, batch_equals_single, repeatable})
      results.push_back(law(s));
    if (device.is_cuda()) results.push_back(same_as_on_cpu(s));
  }
  return results;
}

}  // namespace sdpipe
