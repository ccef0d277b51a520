// euler: the probability flow as an ordinary differential equation in t, solved from t down to s,
//   dx/dt = C'_t x0_hat + (sigma'_t / sigma_t)(x - C_t x0_hat).
// Song et al. (arXiv 2011.13456), equation 13, for this process; its limit for many steps is ddim's, which is exact in
// C and sigma and so the better one at few. C' and sigma' are differences over 1e-4 in t, one-sided at the ends: an
// operator that jumps in t, as hard masks do, has no such derivative.
//
// Fixed steps by default. With tolerance > 0, each node interval is divided as needed: a substep of Heun's method is
// taken where it differs by less than tolerance (1 + sigma_t) from Euler's, as root mean square over the image with the
// largest difference, and else tried again smaller. Substeps are chosen for the whole batch: samples then depend on
// what they are drawn with, within the tolerance.
//
//   [sampler]
//   type = "euler"
//   substeps = 1        # of each node interval; with a tolerance: as many to begin with
//   tolerance = 0.0
//   max_substeps = 1000 # tried in one interval before giving up

#include <string>

#include "plugins/samplers/norm.hpp"
#include "plugins/samplers/step.hpp"

namespace {

constexpr double width = 1e-4;

class Flow {
 public:
  Flow(const sdp::Call& call, const sdp::Path& path, const sdp_tensor* like) : call_(call), path_(path) {
    for (sdp_tensor** t : {&x0_hat_, &above_, &below_, &c_t_x0_}) *t = call.scratch(like);
  }
  // slope = dx/dt
  void operator()(double t, const sdp_tensor* x, sdp_tensor* slope) const {
    const double high = std::min(t + width / 2, 1.0), low = std::max(t - width / 2, 0.0);
    path_.denoise(t, x, x0_hat_);
    path_.corrupt(high, x0_hat_, above_);
    path_.corrupt(low, x0_hat_, below_);
    path_.corrupt(t, x0_hat_, c_t_x0_);
    const double per_t = 1 / (high - low), sigma = path_.sigma(t);
    // Without noise x is C_t x0_hat.
    const double rate = sigma > 0 ? (path_.sigma(high) - path_.sigma(low)) * per_t / sigma : 0;
    call_.lincomb(slope, {per_t, -per_t, rate, -rate}, {above_, below_, x, c_t_x0_});
  }

 private:
  const sdp::Call& call_;
  const sdp::Path& path_;
  sdp_tensor *x0_hat_ = nullptr, *above_ = nullptr, *below_ = nullptr, *c_t_x0_ = nullptr;
};

struct Euler {
  int64_t substeps = 1;
  double tolerance = 0;
  int64_t max_substeps = 1000;

  struct Memory {
    double h = 0;  // the substep that the error allows; 0 before the first
  };

  void step(sdp::Call& call, const sdp::Path& path, uint32_t k, Memory& memory, sdp_tensor* x) const {
    const double t = path.time(k), s = path.time(k - 1);
    const double h = (t - s) / static_cast<double>(substeps);
    if (tolerance == 0) return equal_substeps(call, path, t, h, x);
    if (memory.h == 0) memory.h = h;
    controlled_substeps(call, path, t, s, memory.h, x);
  }

 private:
  void equal_substeps(const sdp::Call& call, const sdp::Path& path, double t, double h, sdp_tensor* x) const {
    const Flow flow(call, path, x);
    sdp_tensor* slope = call.scratch(x);
    for (int64_t i = 0; i < substeps; ++i) {
      flow(t - static_cast<double>(i) * h, x, slope);
      call.lincomb(x, {1, -h}, {x, slope});
    }
  }

  void controlled_substeps(const sdp::Call& call, const sdp::Path& path, double t, double s, double& h,
                           sdp_tensor* x) const {
    const Flow flow(call, path, x);
    sdp_tensor* slope = call.scratch(x);
    sdp_tensor* slope_after = call.scratch(x);
    sdp_tensor* x_after = call.scratch(x);
    const double start = t;
    flow(t, x, slope);
    for (int64_t tries = 0; t > s; ++tries) {
      if (tries == max_substeps) give_up(call, start, s, t);
      call.stop_if_cancelled();
      const bool last = h >= t - s;
      const double t_after = last ? s : t - h, step = t - t_after;
      call.lincomb(x_after, {1, -step}, {x, slope});
      flow(t_after, x_after, slope_after);
      call.lincomb(x_after, {step / 2, -step / 2}, {slope_after, slope});  // Euler's result less Heun's
      const double error = largest(sdpipe::rms(x_after)) / (tolerance * (1 + path.sigma(t)));
      const double h_allowed = step * std::min(std::max(0.2, 0.9 / std::sqrt(error)), 5.0);
      if (!(error > 1)) {  // nor NaN, which the host shall see
        call.lincomb(x, {1, -step / 2, -step / 2}, {x, slope, slope_after});
        t = t_after;
        if (!last) flow(t, x, slope);
        h = last ? std::max(h, h_allowed) : h_allowed;  // the interval's end cut the last one short
      } else {
        h = h_allowed;
      }
    }
  }

  // NaN where one is NaN.
  static double largest(const std::vector<double>& values) {
    double found = 0;
    for (const double v : values) found = v <= found ? found : v;
    return found;
  }

  [[noreturn]] void give_up(const sdp::Call& call, double t, double s, double reached) const {
    call.fail(
        "gave up at t = " + std::to_string(reached) + ", between " + std::to_string(t) + " and " + std::to_string(s) +
            ", where max_substeps = " + std::to_string(max_substeps) +
            " is reached: allow a larger tolerance or more substeps; an operator that jumps in t, as hard masks " +
            "do, has no smooth path to follow",
        "max_substeps");
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::sampler<Euler>("euler", "1.0.0", "The probability flow in t, by fixed or controlled steps")
               .integer("substeps", &Euler::substeps, sdp::between(1, 1000000), "",
                        "Steps in each node interval; with a tolerance, as many to begin with")
               .real("tolerance", &Euler::tolerance, sdp::at_least(0), "",
                     "Above 0: largest difference of a substep between Euler's and Heun's method")
               .integer("max_substeps", &Euler::max_substeps, sdp::between(1, 1000000), "",
                        "With a tolerance: substeps tried in one node interval before giving up"))
