// empirical: the exact denoiser of data that is a finite set of images x_1 ... x_n, each as likely,
//   x0_hat = sum_i w_i x_i,  w = softmax(-|x - C x_i|^2 / (2 sigma^2)).
// The posterior mean of Bayes' rule: nothing to train, and no approximation but the set itself, which it can only
// repeat. It drives any pipeline on real images in seconds.
//
//   [model]
//   type = "empirical"
//   count = 1000        # images of the set

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/abi/plugin.hpp"
#include "plugins/models/exact.hpp"

namespace {

using namespace sdpipe;

struct Empirical {
  int64_t count = 1000;

  void prepare(sdp::Call&, const sdp::Shape& sample) { shape_ = sample; }

  std::vector<sdp::ModelParam> params() const {
    sdp::Shape images = shape_;
    images.insert(images.begin(), count);
    return {{"images", images, SDP_PARAM_KEEP_F32}};
  }

  void init(sdp::Call& call, const std::vector<sdp_tensor*>& params) const { call.normal(0, params[0]); }

  void fit(sdp::Call& call, const sdp::Calibration& data, const std::vector<sdp_tensor*>& params) const {
    int64_t stored = 0;
    for (uint32_t k = 0; k < data.n_batches() && stored < count; ++k) {
      const sdp_tensor& batch = *data.batch(k);
      const int64_t taken = std::min(batch.shape[0], count - stored);
      write(read(batch, 0, taken * size()), *params[0], stored * size());
      stored += taken;
    }
    if (stored < count) {
      call.fail("wants " + std::to_string(count) + " images, the data has " + std::to_string(stored) +
                    ": set count = " + std::to_string(stored) + " or less",
                "count");
    }
  }

  void* forward(sdp::Call& call, const sdp_params& params, const sdp::Point& at, const sdp_tensor* x, sdp_tensor* y,
                uint32_t) const {
    const std::vector<double> images = read(*params.tensor[0]);
    for_each_sample(call, images, at, x, [&](int64_t b, const sdp_tensor&, const std::vector<double>& w) {
      write(minus(weighted_sum(w, images), sample(*x, b)), *y, b * size());
    });
    return nullptr;
  }

  // dw_i/dx = w_i (C x_i - sum_j w_j C x_j) / sigma^2, hence with a_i = gy . x_i
  // gx = (sum_i w_i a_i C x_i - (sum_i w_i a_i)(sum_j w_j C x_j)) / sigma^2 - gy.
  void vjp(sdp::Call& call, const sdp_params& params, const sdp::Point& at, const sdp_tensor* x, void*,
           const sdp_tensor* gy, sdp_tensor* gx, sdp_tensor* const* gparams, uint32_t) const {
    refuse_parameter_gradients(call, params, gparams);
    if (!gx) return;
    const std::vector<double> images = read(*params.tensor[0]);
    for_each_sample(call, images, at, x, [&](int64_t b, const sdp_tensor& corrupted, const std::vector<double>& w) {
      const std::vector<double> gy_b = sample(*gy, b);
      std::vector<double> wa = w;
      double mean_a = 0;
      for (size_t i = 0; i < wa.size(); ++i) mean_a += wa[i] *= w[i] == 0 ? 0 : dot(gy_b, &images[i * gy_b.size()]);
      for (size_t i = 0; i < wa.size(); ++i) wa[i] -= mean_a * w[i];
      std::vector<double> g(gy_b.size());
      // At sigma = 0 the nearest image is returned whatever small change x makes.
      if (at.sigma[b] > 0) g = weighted_sum(wa, read(corrupted));
      for (double& v : g) v /= at.sigma[b] > 0 ? at.sigma[b] * at.sigma[b] : 1;
      write(minus(std::move(g), gy_b), *gx, b * size());
    });
  }

  void release(void*) const noexcept {}

 private:
  int64_t size() const {
    int64_t n = 1;
    for (int64_t d : shape_) n *= d;
    return n;
  }
  std::vector<double> sample(const sdp_tensor& t, int64_t b) const { return read(t, b * size(), size()); }

  static std::vector<double> minus(std::vector<double> a, const std::vector<double>& b) {
    for (size_t i = 0; i < a.size(); ++i) a[i] -= b[i];
    return a;
  }
  static double dot(const std::vector<double>& a, const double* b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
  }
  std::vector<double> weighted_sum(const std::vector<double>& w, const std::vector<double>& images) const {
    std::vector<double> sum(static_cast<size_t>(size()));
    for (size_t i = 0; i < w.size(); ++i) {
      if (w[i] == 0) continue;
      for (size_t e = 0; e < sum.size(); ++e) sum[e] += w[i] * images[i * sum.size() + e];
    }
    return sum;
  }

  // f(b, corrupted set, weights) for every sample; the set is corrupted once for each operator in the batch.
  template <class F>
  void for_each_sample(sdp::Call& call, const std::vector<double>& images, const sdp::Point& at, const sdp_tensor* x,
                       F f) const {
    sdp::Shape set = shape_;
    set.insert(set.begin(), count);
    sdp_tensor* clean = call.scratch(set, x);
    sdp_tensor* corrupted = call.scratch(set, x);
    write(images, *clean);
    for (const std::vector<int64_t>& group : samples_by_operator(call, at, x)) {
      const sdp::OwnedPoint point = repeat(at, group.front(), count);
      call.corrupt(point.view(), clean, corrupted);
      for (int64_t b : group) f(b, *corrupted, weights(squared_distances(*x, b, *corrupted), at.sigma[b]));
    }
  }

  std::vector<double> squared_distances(const sdp_tensor& x, int64_t b, const sdp_tensor& set) const {
    std::vector<double> out(static_cast<size_t>(count));
    sdp::dispatch(x, [&](auto zero) {
      using T = decltype(zero);
      const T* x_b = sdp::Batch<const T>(&x)[b];
      for (int64_t i = 0; i < count; ++i) {
        out[static_cast<size_t>(i)] = squared_distance(x_b, sdp::Batch<const T>(&set)[i], size());
      }
    });
    return out;
  }

  // Four sums at once: one alone would wait for every addition.
  template <class T>
  static double squared_distance(const T* a, const T* b, int64_t n) {
    double sum[4] = {};
    for (int64_t i = 0; i < n; ++i) {
      const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
      sum[i % 4] += d * d;
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
  }

  // softmax(-d / (2 sigma^2)); its limit at sigma = 0: the nearest images, equally.
  static std::vector<double> weights(std::vector<double> d, double sigma) {
    const double nearest = *std::min_element(d.begin(), d.end());
    double total = 0;
    for (double& w : d) {
      w = sigma > 0 ? std::exp((nearest - w) / (2 * sigma * sigma)) : (w == nearest ? 1.0 : 0.0);
      total += w;
    }
    for (double& w : d) w /= total;
    return d;
  }

  sdp::Shape shape_{1, 1, 1};
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::model<Empirical>("empirical", "1.0.0", "The exact denoiser of a finite set of images")
                             .integer("count", &Empirical::count, sdp::at_least(1), "images",
                                      "Images of the set, the first of the data")
                             .example("count = 8\n"))
