// wiener: the exact denoiser E[x_0 | x_t] of Gaussian data N(mu, S),
//   x0_hat = mu + S C^T (C S C^T + sigma^2 I)^-1 (x - C mu).
// Every linear sampler then maps Gaussians to Gaussians, so that its error is known without sampling. The data is a
// power law over DCT indices, p_ij = amplitude (1 + i^2 + j^2)^-exponent, or what the data set's moments say.
//
//   [model]
//   type = "wiener"
//   source = "power_law"  # or "data": mean and variances of the data set
//   amplitude = 1.0
//   exponent = 1.5
//   basis = "dct"         # or "pixel", both for corruptions diagonal in it; "dense": any, for small samples

#include <map>
#include <vector>

#include "core/abi/plugin.hpp"
#include "plugins/models/exact.hpp"
#include "plugins/models/wiener/basis.hpp"
#include "plugins/models/wiener/dense.hpp"
#include "plugins/models/wiener/diagonal.hpp"
#include "plugins/models/wiener/power_law.hpp"

namespace {

using namespace sdpipe;
using namespace sdpipe::wiener;

constexpr int64_t largest_dense = 1024;

struct Wiener {
  enum class Source { power_law, data };
  enum class In { dct, pixel, dense };
  Source source = Source::power_law;
  double amplitude = 1.0;
  double exponent = 1.5;
  In basis = In::dct;

  void prepare(sdp::Call& call, const sdp::Shape& sample) {
    if (sample.size() != 3) call.fail("takes samples of (channel, height, width)", {}, SDP_E_UNSUPPORTED);
    shape_ = sample;
    if (basis == In::dense && size() > largest_dense) {
      call.fail("\"dense\" takes samples of at most " + std::to_string(largest_dense) + " elements, these have " +
                    std::to_string(size()),
                "basis");
    }
  }

  // KEEP_F32: these are statistics, not weights that bear rounding.
  std::vector<sdp::ModelParam> params() const {
    const sdp::ModelParam mean{"mean", shape_, SDP_PARAM_KEEP_F32};
    if (basis == In::dense) return {mean, {"covariance", {size(), size()}, SDP_PARAM_KEEP_F32}};
    return {mean, {"power", shape_, SDP_PARAM_KEEP_F32}};
  }

  void init(sdp::Call&, const std::vector<sdp_tensor*>& params) const {
    write(std::vector<double>(static_cast<size_t>(size())), *params[0]);
    const std::vector<double> power = power_law(shape_, amplitude, exponent);
    write(basis == In::dense ? covariance_of(shape_, power) : power, *params[1]);
  }

  void fit(sdp::Call& call, const sdp::Calibration& data, const std::vector<sdp_tensor*>& params) const {
    if (source == Source::power_law) return init(call, params);
    const std::vector<double> mean = average(call, data, size(), [](const std::vector<double>& x) { return x; });
    write(mean, *params[0]);
    Basis coefficients = own_basis();
    write(average(call, data, sdp::numel(*params[1]),
                  [&](std::vector<double> x) {
                    for (size_t i = 0; i < x.size(); ++i) x[i] -= mean[i];
                    coefficients.forward(x);
                    return basis == In::dense ? outer_product(x) : squares(x);
                  }),
          *params[1]);
  }

  void* forward(sdp::Call& call, const sdp_params& params, const sdp::Point& at, const sdp_tensor* x, sdp_tensor* y,
                uint32_t) const {
    for_each_sample(call, params, at, x, x, y,
                    [](auto& denoiser, const auto& state, const auto& in) { return denoiser.residual(state, in); });
    return nullptr;
  }

  void vjp(sdp::Call& call, const sdp_params& params, const sdp::Point& at, const sdp_tensor* x, void*,
           const sdp_tensor* gy, sdp_tensor* gx, sdp_tensor* const* gparams, uint32_t) const {
    refuse_parameter_gradients(call, params, gparams);
    if (!gx) return;
    for_each_sample(call, params, at, x, gy, gx,
                    [](auto& denoiser, const auto& state, const auto& in) { return denoiser.residual_vjp(state, in); });
  }

  void release(void*) const noexcept {}

 private:
  int64_t size() const { return shape_[0] * shape_[1] * shape_[2]; }
  Basis own_basis() const { return Basis(shape_[1], shape_[2], basis == In::dct); }

  static std::vector<double> squares(std::vector<double> x) {
    for (double& v : x) v *= v;
    return x;
  }
  static std::vector<double> outer_product(const std::vector<double>& x) {
    std::vector<double> out;
    for (double a : x) {
      for (double b : x) out.push_back(a * b);
    }
    return out;
  }

  // Mean of f(x), `length` numbers, over all clean samples.
  template <class F>
  std::vector<double> average(sdp::Call& call, const sdp::Calibration& data, int64_t length, F f) const {
    std::vector<double> sum(static_cast<size_t>(length));
    int64_t count = 0;
    for (uint32_t k = 0; k < data.n_batches(); ++k) {
      call.stop_if_cancelled();
      const sdp_tensor& batch = *data.batch(k);
      for (int64_t b = 0; b < batch.shape[0]; ++b, ++count) {
        const std::vector<double> value = f(read(batch, b * size(), size()));
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += value[i];
      }
    }
    if (count == 0) call.fail("there is no data to fit to", "source");
    for (double& v : sum) v /= static_cast<double>(count);
    return sum;
  }

  // out[b] = f(denoiser, state of sample b, in[b])
  template <class F>
  void for_each_sample(sdp::Call& call, const sdp_params& params, const sdp::Point& at, const sdp_tensor* x,
                       const sdp_tensor* in, sdp_tensor* out, F f) const {
    if (basis == In::dense) return for_each_dense(call, params, at, x, in, out, f);
    Diagonal denoiser(call, at, x, own_basis(), params);
    for (int64_t b = 0; b < x->shape[0]; ++b) write(f(denoiser, b, read(*in, b * size(), size())), *out, b * size());
  }

  template <class F>
  void for_each_dense(sdp::Call& call, const sdp_params& params, const sdp::Point& at, const sdp_tensor* x,
                      const sdp_tensor* in, sdp_tensor* out, F f) const {
    const CorruptionReader corruption(call, x);
    for (const std::vector<int64_t>& group : samples_by_operator(call, at, x)) {
      const Dense denoiser(read(*params.tensor[0]), read(*params.tensor[1]), corruption.transposed(at, group.front()));
      std::map<double, Cholesky> factors;
      for (int64_t b : group) {
        const double sigma = at.sigma[b];
        const auto found = factors.find(sigma);
        const Cholesky& m =
            found != factors.end() ? found->second : factors.emplace(sigma, denoiser.factor(sigma)).first->second;
        write(f(denoiser, m, read(*in, b * size(), size())), *out, b * size());
      }
    }
  }

  sdp::Shape shape_{1, 1, 1};
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::model<Wiener>("wiener", "1.0.0", "The exact denoiser of Gaussian data")
               .choice("source", &Wiener::source, {"power_law", "data"}, "Where mean and variances come from")
               .real("amplitude", &Wiener::amplitude, sdp::above(0), "", "Power law: the largest variance")
               .real("exponent", &Wiener::exponent, sdp::at_least(0), "", "Power law: how fast variances fall")
               .choice("basis", &Wiener::basis, {"dct", "pixel", "dense"},
                       "In which basis data and corruption are diagonal; dense: none"))
