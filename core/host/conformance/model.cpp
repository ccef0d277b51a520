#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/host/conformance/measure.hpp"

namespace sdpipe {

using namespace conformance;

namespace {

constexpr int64_t batch = 3;

// Step of the central differences and the largest relative error to expect of them: in float64 truncation is about
// 1e-10 and rounding 1e-11; float32 can do no better than the second pair.
struct Accuracy {
  double step, input_bound, parameter_bound;
};
constexpr Accuracy float64_accuracy = {1e-5, 1e-6, 1e-5}, float32_accuracy = {1e-2, 1e-2, 2e-2};

bool is_finite(const at::Tensor& x) { return x.isfinite().all().item<bool>(); }

std::vector<at::Tensor> storage(const Model& model, at::ScalarType dtype, at::Device device) {
  std::vector<at::Tensor> tensors;
  for (const ModelParamInfo& p : model.params())
    tensors.push_back(at::zeros(p.shape, at::TensorOptions(dtype).device(model.parameter_device(device))));
  return tensors;
}

// A model with parameters away from special points (zero-initialised outputs would hide errors behind them).
struct Subject {
  Subject(const Plugin& plugin, const Settings& settings, const SampleShape& shape_in, at::Device device_in)
      : model(plugin, settings, shape_in),
        dtype(model.offers(at::kDouble) ? at::kDouble : at::kFloat),
        device(device_in),
        shape(shape_in),
        params(storage(model, dtype, device)),
        at(mixed_points(batch, 1)) {
    for (double& level : at.level) level = std::max(level, 0.02);
    for (double& t : at.t) t = std::max(t, 0.02);
    if (model.is_fitted())
      model.fit(params, NoiseCalibration(shape, dtype), corruption);
    else
      shake();
    params.changed();
  }
  void shake() {
    model.init(params, 7);
    for (size_t i = 0; i < params.tensors().size(); ++i) {
      const at::Tensor& p = params.tensors()[i];
      if (model.params()[i].frozen) continue;
      p.add_(random_batch(1, {p.numel()}, dtype, static_cast<uint32_t>(i % 4096)).view(p.sizes()).to(p.device()), 0.05);
    }
  }
  const Accuracy& accuracy() const { return dtype == at::kDouble ? float64_accuracy : float32_accuracy; }
  CallScope scope(std::span<const uint64_t> of) const {
    CallScope s;
    s.corruption = &corruption;
    s.random.purpose = Purpose::model;
    s.random.sample = of;
    return s;
  }
  ModelCall call(bool train = false) const { return {params, at, scope(samples), train}; }
  at::Tensor noise(uint32_t draw) const { return random_batch(batch, shape, dtype, draw).to(device); }

  Model model;
  at::ScalarType dtype;
  at::Device device;
  SampleShape shape;
  ParamSet params;
  Points at;
  ScaledIdentity corruption;
  std::vector<uint64_t> samples = {0, 1, 2};
};

// <gy, dy/dx v> by central differences against <gx, v>. While training, forward and vjp must draw equal dropout.
LawResult input_gradient(const Subject& s, const std::string& id, bool train) {
  return bounded(id, s.accuracy().input_bound, [&] {
    const double h = s.accuracy().step;
    const ModelCall call = s.call(train);
    const at::Tensor x = s.noise(1), gy = s.noise(2), v = s.noise(3);
    auto [y, saved] = s.model.forward_saving(call, x);
    const at::Tensor gx = s.model.vjp(call, x, saved, gy, nullptr, true);
    const at::Tensor difference = (s.model.forward(call, x + h * v) - s.model.forward(call, x - h * v)) / (2 * h);
    return std::abs(dot(gy, difference) - dot(gx, v)) /
           std::max(norm(gx) * norm(v) / std::sqrt(static_cast<double>(v.numel())), 1e-12);
  });
}

// The same for each parameter along a random direction.
LawResult parameter_gradients(Subject& s) {
  return stated("model.vjp_of_parameters", [&]() -> std::string {
    if (s.model.is_fitted()) return "";  // fitted, never trained: no gradient is asked for
    const at::Tensor x = s.noise(1), gy = s.noise(2);
    const ParamSet gradients(storage(s.model, s.dtype, s.device));
    for (const at::Tensor& g : gradients.tensors()) g.fill_(1e3);  // vjp must write, neither accumulate nor skip
    auto [y, saved] = s.model.forward_saving(s.call(), x);
    s.model.vjp(s.call(), x, saved, gy, &gradients, false);
    const double h = s.accuracy().step;
    for (size_t i = 0; i < s.params.tensors().size(); ++i) {
      if (s.model.params()[i].frozen) continue;
      const at::Tensor& p = s.params.tensors()[i];
      const at::Tensor v = random_batch(1, {p.numel()}, s.dtype, 11).view(p.sizes()).to(p.device());
      const auto moved = [&](double by) {
        p.add_(v, by);
        s.params.changed();
        return dot(gy, s.model.forward(s.call(), x));
      };
      const double up = moved(h), down = moved(-2 * h);
      moved(h);
      const double expected = (up - down) / (2 * h), found = dot(gradients.tensors()[i], v);
      const double rounding = 1e-15 * std::max(std::abs(up), std::abs(down)) / h;  // where y is large, gradients small
      if (std::abs(found - expected) <=
          s.accuracy().parameter_bound * std::max({std::abs(expected), norm(gradients.tensors()[i]), 1e-3}) + rounding)
        continue;
      return fmt::format("parameter \"{}\": vjp gives {:.8g} along a random direction, central differences {:.8g}",
                         s.model.params()[i].name, found, expected);
    }
    return "";
  });
}

// forward(A, SAVE), forward(B), vjp(A): what A saved is A's own.
LawResult interleaved(const Subject& s) {
  return stated("model.vjp_after_another_forward", [&]() -> std::string {
    const at::Tensor gy = s.noise(2), a_alone = s.noise(1);
    auto [y_alone, saved_alone] = s.model.forward_saving(s.call(), a_alone);
    const at::Tensor alone = s.model.vjp(s.call(), a_alone, saved_alone, gy, nullptr, true);
    const at::Tensor a = s.noise(1), b = s.noise(4);
    auto [y_a, saved_a] = s.model.forward_saving(s.call(), a);
    auto [y_b, saved_b] = s.model.forward_saving(s.call(), b);
    s.model.forward(s.call(), b);
    const at::Tensor after = s.model.vjp(s.call(), a, saved_a, gy, nullptr, true);
    return after.equal(alone) ? "" : "the gradient of A changes when B runs between A's forward and its vjp";
  });
}

LawResult repeated_vjp(const Subject& s) {
  return stated("model.vjp_twice", [&]() -> std::string {
    const at::Tensor x = s.noise(1), gy = s.noise(2);
    auto [y, saved] = s.model.forward_saving(s.call(), x);
    const at::Tensor first = s.model.vjp(s.call(), x, saved, gy, nullptr, true, false);
    return s.model.vjp(s.call(), x, saved, gy, nullptr, true, true).equal(first)
               ? ""
               : "a second vjp of one forward differs";
  });
}

LawResult batch_equals_single(const Subject& s) {
  return bounded("model.batch_equals_single", s.dtype == at::kDouble ? 1e-9 : 1e-4, [&] {
    const at::Tensor x = s.noise(5), whole = s.model.forward(s.call(), x);
    double worst = 0;
    for (int64_t b = 0; b < batch; ++b) {
      const Points at = row(s.at, static_cast<size_t>(b));
      const ModelCall alone = {s.params, at, s.scope(std::span(s.samples).subspan(static_cast<size_t>(b), 1))};
      const at::Tensor one = s.model.forward(alone, x.slice(0, b, b + 1).contiguous());
      worst = largest({worst, relative_difference(one[0], whole[b])});
    }
    return worst;
  });
}

LawResult repeatable(const Subject& s) {
  return stated("model.repeatable", [&]() -> std::string {
    const at::Tensor x = s.noise(6), before = x.clone(), first = s.model.forward(s.call(), x);
    if (!x.equal(before)) return "forward wrote into its input";
    return s.model.forward(s.call(), x).equal(first) ? "" : "forward gave different values for equal inputs";
  });
}

// A path begins at t = level = sigma = 0, of which no model may take the logarithm.
LawResult finite_at_zero(const Subject& s) {
  return stated("model.finite_at_zero", [&]() -> std::string {
    const std::vector<double> zero(batch, 0.0);
    const Points clean = {zero, zero, zero, s.at.key};
    const ModelCall call = {s.params, clean, s.scope(s.samples)};
    const at::Tensor x = s.noise(7), gy = s.noise(2);
    auto [y, saved] = s.model.forward_saving(call, x);
    if (!is_finite(y)) return "forward is not finite at t = level = sigma = 0";
    const ParamSet gradients(storage(s.model, s.dtype, s.device));
    const at::Tensor gx = s.model.vjp(call, x, saved, gy, s.model.is_fitted() ? nullptr : &gradients, true);
    if (!is_finite(gx)) return "vjp is not finite at t = level = sigma = 0";
    for (size_t i = 0; i < gradients.tensors().size(); ++i)
      if (!s.model.is_fitted() && !is_finite(gradients.tensors()[i]))
        return fmt::format("the gradient of \"{}\" is not finite at t = level = sigma = 0", s.model.params()[i].name);
    return "";
  });
}

// Against the parameters before they were rounded. What a network of many layers loses by it is some percent.
LawResult forward_in_bfloat16(const Subject& s) {
  return bounded("model.forward_in_bfloat16", 0.1, [&] {
    if (!s.model.offers(at::kBFloat16)) return 0.0;
    std::vector<at::Tensor> rounded;
    for (size_t i = 0; i < s.params.tensors().size(); ++i)
      rounded.push_back(s.params.tensors()[i].to(s.model.params()[i].keep_f32 ? at::kFloat : at::kBFloat16));
    const ParamSet narrow(std::move(rounded));
    const at::Tensor x = s.noise(6), wide = s.model.forward(s.call(), x);
    const ModelCall call = {narrow, s.at, s.scope(s.samples)};
    return relative_difference(s.model.forward(call, x.to(at::kFloat)).to(s.dtype), wide);
  });
}

// On a GPU the model computes what it computes on the CPU.
LawResult same_as_on_cpu(const Subject& s) {
  return bounded("model.same_as_on_cpu", s.dtype == at::kDouble ? 1e-9 : 1e-4, [&] {
    std::vector<at::Tensor> copies;
    for (const at::Tensor& p : s.params.tensors()) copies.push_back(p.cpu());
    const ParamSet on_cpu(std::move(copies));
    const at::Tensor x = s.noise(8), gy = s.noise(2);
    auto [y, saved] = s.model.forward_saving(s.call(), x);
    const at::Tensor gx = s.model.vjp(s.call(), x, saved, gy, nullptr, true);
    const ModelCall call = {on_cpu, s.at, s.scope(s.samples)};
    auto [y_cpu, saved_cpu] = s.model.forward_saving(call, x.cpu());
    const at::Tensor gx_cpu = s.model.vjp(call, x.cpu(), saved_cpu, gy.cpu(), nullptr, true);
    return largest({relative_difference(y.cpu(), y_cpu), relative_difference(gx.cpu(), gx_cpu)});
  });
}

}  // namespace

std::vector<LawResult> check_model(const Plugin& plugin, const Settings& settings, const SampleShape& shape,
                                   at::Device device) {
  Subject s(plugin, settings, shape, device);
  std::vector<LawResult> results = {input_gradient(s, "model.vjp_of_input", false),
                                    input_gradient(s, "model.vjp_in_training", true),
                                    parameter_gradients(s),
                                    interleaved(s),
                                    repeated_vjp(s),
                                    batch_equals_single(s),
                                    repeatable(s),
                                    finite_at_zero(s),
                                    forward_in_bfloat16(s)};
  if (device.is_cuda()) results.push_back(same_as_on_cpu(s));
  return results;
}

}  // namespace sdpipe
