// langevin: a predictor's step, then `corrections` steps of Langevin dynamics at s,
//   x <- x + eps score(x) + sqrt(2 eps) eta,  score(x) = (C_s x0_hat(x, s) - x) / sigma_s^2,
//   eps = 2 (snr |eta| / |score|)^2 for each image, or step sigma_s^2.
// Song et al. (arXiv 2011.13456), Algorithms 2 and 4, with the score of Soft Diffusion (arXiv 2209.05442), equation 3.
// There the norms are means over the batch; here each image has its own, so that no image depends on its neighbours.
// The explicit step is stable below 2. Without noise at s there is no score, and no correction.
//
//   [sampler]
//   type = "langevin"
//   predictor = "ancestral"  # or "ddim"
//   corrections = 1          # evaluations beyond the predictor's
//   snr = 0.16
//   step = 0.0               # above 0: in place of snr

#include "plugins/samplers/norm.hpp"
#include "plugins/samplers/step.hpp"

namespace {

struct Langevin {
  enum class Predictor { ancestral, ddim };
  Predictor predictor = Predictor::ancestral;
  int64_t corrections = 1;
  double snr = 0.16;
  double step_size = 0;

  void step(sdp::Call& call, const sdp::Path& path, uint32_t k, sdp_tensor* x) const {
    const sdpipe::Step n(path, k);
    predict(call, path, n, x);
    if (n.sigma_s == 0 || corrections == 0) return;
    const Room room{call.scratch(x), call.scratch(x), call.scratch(x)};
    for (int64_t i = 1; i <= corrections; ++i) correct(call, path, n, static_cast<uint32_t>(i), room, x);
  }

 private:
  // Scratch tensors live until the step ends: one set serves all corrections.
  struct Room {
    sdp_tensor *x0_hat, *score, *eta;
  };

  void predict(const sdp::Call& call, const sdp::Path& path, const sdpipe::Step& n, sdp_tensor* x) const {
    const sdp_tensor* x0_hat = sdpipe::denoise(call, path, n.t, x);
    if (predictor == Predictor::ddim) return sdpipe::advance(call, path, n, x0_hat, n.ratio(), x);
    sdpipe::advance(call, path, n, x0_hat, n.ratio() * n.ratio(), x);
    sdpipe::add_noise(call, n.ratio() * n.removed(), x);
  }

  void correct(const sdp::Call& call, const sdp::Path& path, const sdpipe::Step& n, uint32_t draw, const Room& room,
               sdp_tensor* x) const {
    const auto [x0_hat, score, eta] = room;
    path.denoise(n.s, x, x0_hat);
    path.corrupt(n.s, x0_hat, score);
    const double precision = 1 / (n.sigma_s * n.sigma_s);
    call.lincomb(score, {precision, -precision}, {score, x});
    call.normal(draw, eta);
    const std::vector<double> eps = step_sizes(score, eta, n.sigma_s);
    sdp::dispatch(*x, [&](auto zero) { move<decltype(zero)>(eps, room.score, room.eta, x); });
  }

  std::vector<double> step_sizes(const sdp_tensor* score, const sdp_tensor* eta, double sigma) const {
    if (step_size > 0) return std::vector<double>(static_cast<size_t>(score->shape[0]), step_size * sigma * sigma);
    std::vector<double> eps = sdpipe::rms(eta);
    const std::vector<double> slope = sdpipe::rms(score);
    for (size_t b = 0; b < eps.size(); ++b) {
      const double signal = snr * eps[b] / slope[b];
      eps[b] = slope[b] > 0 ? 2 * signal * signal : 0;  // no score, no scale to step by
    }
    return eps;
  }

  template <class T>
  static void move(const std::vector<double>& eps, const sdp_tensor* score, const sdp_tensor* eta, sdp_tensor* x) {
    const sdp::Batch<const T> slope(score), noise(eta);
    const sdp::Batch<T> out(x);
    for (int64_t b = 0; b < out.size(); ++b) {
      const T drift = static_cast<T>(eps[b]), spread = static_cast<T>(std::sqrt(2 * eps[b]));
      for (int64_t i = 0; i < out.stride(); ++i) out[b][i] += drift * slope[b][i] + spread * noise[b][i];
    }
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::sampler<Langevin>("langevin", "1.0.0", "Predictor, then corrections by Langevin dynamics")
               .choice("predictor", &Langevin::predictor, {"ancestral", "ddim"}, "What takes the step from t to s")
               .integer("corrections", &Langevin::corrections, sdp::between(0, 1000), "",
                        "Langevin steps after each of the predictor's; one evaluation each")
               .real("snr", &Langevin::snr, sdp::above(0), "", "Size of a correction's noise against its drift")
               .real("step", &Langevin::step_size, sdp::between(0, 2), "of sigma^2",
                     "Above 0: the size of a correction, whatever the score"))
