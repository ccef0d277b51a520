#include <ATen/TensorOperators.h>

#include <functional>

#include "core/host/conformance/measure.hpp"

namespace sdpipe {

using namespace conformance;

namespace {

constexpr int64_t batch = 2;

// C_t = (1 - t/2) I, sigma = t, and a network that always answers `x0`.
class KnownPath : public SamplerPath {
 public:
  KnownPath(at::Tensor x0, int steps) : x0_(std::move(x0)) {
    for (int k = 0; k <= steps; ++k) nodes_.push_back(static_cast<double>(k) / steps);
  }
  const std::vector<double>& nodes() const override { return nodes_; }
  at::Tensor denoise(double t, const at::Tensor&) const override {
    if (t <= fails_below_) throw RunError("the network fails on purpose");
    return x0_;
  }
  at::Tensor corrupt(double t, const at::Tensor& x) const override { return (1 - t / 2) * x; }
  at::Tensor adjoint(double t, const at::Tensor& x) const override { return corrupt(t, x); }
  double sigma(double t) const override { return t; }
  void fail_below(double t) { fails_below_ = t; }

 private:
  std::vector<double> nodes_;
  at::Tensor x0_;
  double fails_below_ = -1;
};

using Noise = std::function<bool(uint32_t step, uint32_t draw, at::Tensor& out)>;

// `noise` replaces the random numbers.
at::Tensor run(const Sampler& sampler, const KnownPath& path, const at::Tensor& x_1, Noise* noise = nullptr) {
  const std::vector<uint64_t> samples = {0, 1};
  RandomScope random;
  random.purpose = Purpose::sampler;
  random.sample = samples;
  random.replacement = noise;
  SamplerRun trajectory(sampler, path, random, x_1.clone());
  for (size_t k = path.nodes().size() - 1; k > 0; --k) trajectory.step(static_cast<uint32_t>(k));
  return trajectory.x();
}

}  // namespace

std::vector<LawResult> check_sampler(const Plugin& plugin, const Settings& settings, const SampleShape& shape) {
  const Sampler sampler(plugin, settings);
  const bool is_double = (plugin.descriptor->dtypes & SDP_DTYPE_F64) != 0;
  const at::ScalarType dtype = is_double ? at::kDouble : at::kFloat;
  const at::Tensor x0 = random_batch(batch, shape, dtype, 1), x_1 = random_batch(batch, shape, dtype, 2);
  return {
      // At t = 0 there is neither corruption nor noise, so with a network that knows the image the mean of the last
      // step
      // is that image. The noise drawn is set to 0: Soft Diffusion's momentum adds some to the last step too, and is
      // therefore never stepped to t = 0 (a run ends with a denoising instead).
      bounded("sampler.reaches_a_known_image", is_double ? 1e-10 : 1e-5,
              [&] {
                Noise none = [](uint32_t, uint32_t, at::Tensor& out) { return out.zero_(), true; };
                return relative_difference(run(sampler, KnownPath(x0, 6), x_1, &none), x0);
              }),
      stated("sampler.repeatable",
             [&]() -> std::string {
               const KnownPath path(x0, 5);
               return run(sampler, path, x_1).equal(run(sampler, path, x_1)) ? ""
                                                                             : "equal seeds gave different results";
             }),
      stated("sampler.passes_on_errors",
             [&]() -> std::string {
               KnownPath path(x0, 4);
               path.fail_below(0.6);
               try {
                 run(sampler, path, x_1);
               } catch (const RunError&) {
                 return "";
               }
               return "no error of the network reached the host";
             }),
  };
}

}  // namespace sdpipe
