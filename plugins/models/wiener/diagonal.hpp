// The denoiser where C and the data's covariance are diagonal in one basis; with c_k and p_k their entries,
//   x0_hat_k = mu_k + p_k c_k / (c_k^2 p_k + sigma^2) (x_k - c_k mu_k).
#pragma once

#include <cmath>
#include <vector>

#include "plugins/models/exact.hpp"
#include "plugins/models/wiener/basis.hpp"

namespace sdpipe::wiener {

class Diagonal {
 public:
  // Reads c off the corruption at every sample of the batch; refuses one that is not diagonal in the basis.
  Diagonal(const sdp::Call& call, const sdp::Point& at, const sdp_tensor* x, Basis basis, const sdp_params& params)
      : at_(at), basis_(std::move(basis)), mean_(read(*params.tensor[0])), power_(read(*params.tensor[1])) {
    basis_.forward(mean_);
    c_ = response(call, x, std::vector<double>(mean_.size(), 1.0));
    std::vector<double> mixed(mean_.size());
    for (size_t k = 0; k < mixed.size(); ++k) mixed[k] = probe(k);
    const std::vector<double> answer = response(call, x, mixed);
    const double tolerance = sdp::is_f64(*x) ? 1e-9 : 1e-4;
    for (size_t i = 0; i < c_.size(); ++i) {
      if (std::abs(answer[i] - c_[i] * mixed[i % mixed.size()]) > tolerance) {
        call.fail("the corruption is not diagonal in this basis; basis = \"dense\" takes any", "basis");
      }
    }
  }

  // x0_hat - x of sample b
  std::vector<double> residual(int64_t b, std::vector<double> x) {
    basis_.forward(x);
    for (size_t k = 0; k < x.size(); ++k) x[k] = mean_[k] + gain(b, k) * (x[k] - c(b, k) * mean_[k]) - x[k];
    basis_.inverse(x);
    return x;
  }
  std::vector<double> residual_vjp(int64_t b, std::vector<double> gy) {
    basis_.forward(gy);
    for (size_t k = 0; k < gy.size(); ++k) gy[k] *= gain(b, k) - 1;
    basis_.inverse(gy);
    return gy;
  }

 private:
  double c(int64_t b, size_t k) const { return c_[static_cast<size_t>(b) * mean_.size() + k]; }
  double gain(int64_t b, size_t k) const {
    const double observed = c(b, k) * c(b, k) * power_[k] + at_.sigma[b] * at_.sigma[b];
    return observed > 0 ? power_[k] * c(b, k) / observed : 0;  // nothing seen, nothing to add to the mean
  }

  // Coefficients of the corrupted image whose coefficients are `in`, for every sample of the batch.
  std::vector<double> response(const sdp::Call& call, const sdp_tensor* x, std::vector<double> in) {
    sdp_tensor* image = call.scratch(x);
    sdp_tensor* corrupted = call.scratch(x);
    const auto size = static_cast<int64_t>(in.size());
    basis_.inverse(in);
    for (int64_t b = 0; b < x->shape[0]; ++b) write(in, *image, b * size);
    call.corrupt(at_, image, corrupted);
    std::vector<double> out = read(*corrupted);
    basis_.forward(out);
    return out;
  }

  const sdp::Point& at_;
  Basis basis_;
  std::vector<double> mean_, power_, c_;
};

}  // namespace sdpipe::wiener
