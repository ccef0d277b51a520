#include <ATen/TensorOperators.h>

#include <functional>
#include <numeric>

#include "core/host/conformance/measure.hpp"

namespace sdpipe {

using namespace conformance;

namespace {

constexpr int64_t batch = 2;

// Throws `error` from time `below` down.
struct Failure {
  void meet(double t) const {
    if (t > below) return;
    ++times;
    std::rethrow_exception(error);
  }
  double below = -1;
  std::exception_ptr error = nullptr;
  mutable int times = 0;
};

enum class End { at_zero, before_zero };

// C_t = (1 - t/2) I, sigma = t, and a network that always answers `x0`.
class KnownPath : public SamplerPath {
 public:
  KnownPath(at::Tensor x0, int steps, End end) : x0_(std::move(x0)) {
    for (int k = end == End::at_zero ? 0 : 1; k <= steps; ++k) nodes_.push_back(static_cast<double>(k) / steps);
  }
  const std::vector<double>& nodes() const override { return nodes_; }
  at::Tensor denoise(double t, const at::Tensor&) const override {
    network.meet(t);
    return x0_;
  }
  at::Tensor corrupt(double t, const at::Tensor& x) const override {
    corruption.meet(t);
    return (1 - t / 2) * x;
  }
  at::Tensor adjoint(double t, const at::Tensor& x) const override { return corrupt(t, x); }
  double sigma(double t) const override { return t; }

  Failure network, corruption;

 private:
  std::vector<double> nodes_;
  at::Tensor x0_;
};

using Noise = std::function<bool(uint32_t step, uint32_t draw, at::Tensor& out)>;

// Trajectories `first`, first + 1 ... from x_1; `noise` replaces the random numbers.
at::Tensor run(const Sampler& sampler, const KnownPath& path, const at::Tensor& x_1, uint64_t first = 0,
               Noise* noise = nullptr) {
  std::vector<uint64_t> samples(static_cast<size_t>(x_1.size(0)));
  std::iota(samples.begin(), samples.end(), first);
  RandomScope random;
  random.purpose = Purpose::sampler;
  random.sample = samples;
  random.replacement = noise;
  SamplerRun trajectory(sampler, path, random, x_1.clone());
  for (size_t k = path.nodes().size() - 1; k > 0; --k) trajectory.step(static_cast<uint32_t>(k));
  return trajectory.x();
}

const std::string on_purpose = "it fails on purpose";

// Did the failure of one part of the path, if the sampler met it, end the run as it was?
std::string passes_on(const Sampler& sampler, const KnownPath& path, const at::Tensor& x_1, const Failure& failure,
                      const std::string& whose) {
  try {
    run(sampler, path, x_1);
  } catch (const RunError& e) {
    return e.what() == on_purpose ? "" : "the error of the " + whose + " reached the host as: " + e.what();
  }
  return failure.times == 0 ? "" : "no error of the " + whose + " reached the host";
}

std::string stops(const Sampler& sampler, const KnownPath& path, const at::Tensor& x_1) {
  try {
    run(sampler, path, x_1);
  } catch (const Cancelled&) {
    return path.network.times == 1 ? "" : "told to stop, it asked the network again";
  }
  return "told to stop, it went on";
}

}  // namespace

std::vector<LawResult> check_sampler(const Plugin& plugin, const Settings& settings, const SampleShape& shape,
                                     at::Device device) {
  const Sampler sampler(plugin, settings);
  const bool is_double = (plugin.descriptor->dtypes & SDP_DTYPE_F64) != 0;
  const at::ScalarType dtype = is_double ? at::kDouble : at::kFloat;
  const at::Tensor x0 = random_batch(batch, shape, dtype, 1).to(device),
                   x_1 = random_batch(batch, shape, dtype, 2).to(device);
  const double rounding = is_double ? 1e-10 : 1e-5;
  const Failure failure{0.6, std::make_exception_ptr(RunError(on_purpose))};
  return {
      // At t = 0 there is neither corruption nor noise, so with a network that knows the image the mean of the last
      // step is that image. The noise drawn is set to 0: Soft Diffusion's momentum adds some to the last step too, and
      // is therefore never stepped to t = 0 (a run ends with a denoising instead).
      bounded("sampler.reaches_a_known_image", rounding,
              [&] {
                Noise none = [](uint32_t, uint32_t, at::Tensor& out) { return out.zero_(), true; };
                return relative_difference(run(sampler, KnownPath(x0, 6, End::at_zero), x_1, 0, &none), x0);
              }),
      stated("sampler.repeatable",
             [&]() -> std::string {
               const KnownPath path(x0, 5, End::before_zero);
               return run(sampler, path, x_1).equal(run(sampler, path, x_1)) ? ""
                                                                             : "equal seeds gave different results";
             }),
      bounded("sampler.batch_equals_single", rounding,
              [&] {
                const at::Tensor together = run(sampler, KnownPath(x0, 5, End::before_zero), x_1);
                const KnownPath path(x0.narrow(0, 1, 1), 5, End::before_zero);
                return relative_difference(run(sampler, path, x_1.narrow(0, 1, 1), 1), together.narrow(0, 1, 1));
              }),
      stated("sampler.passes_on_errors",
             [&] {
               KnownPath path(x0, 4, End::at_zero);
               path.network = failure;
               return passes_on(sampler, path, x_1, path.network, "network");
             }),
      stated("sampler.passes_on_errors_of_the_corruption",
             [&] {
               KnownPath path(x0, 4, End::at_zero);
               path.corruption = failure;
               return passes_on(sampler, path, x_1, path.corruption, "corruption");
             }),
      stated("sampler.stops_when_told",
             [&] {
               KnownPath path(x0, 4, End::at_zero);
               path.network = {0.6, std::make_exception_ptr(Cancelled())};
               return stops(sampler, path, x_1);
             }),
  };
}

}  // namespace sdpipe
