// ancestral: a draw from q(x_s | x_t, x_0 = x0_hat),
//   x_s = C_s x0_hat + kappa (x_t - C_t x0_hat) + sqrt(sigma_s^2 - kappa^2 sigma_t^2) eta.
// Every kappa from 0 to sigma_s / sigma_t has the right law of x_s given x_0; which one is the posterior depends on how
// x_t came from x_s:
//
//   accumulating   noise only adds up, so that sigma_t eps is sigma_s eps and more: kappa = sigma_s^2 / sigma_t^2. The
//                  mean is momentum's; momentum's noise is too large by sigma_t / sigma_s, which vanishes only as the
//                  steps grow small
//   markov         x_t = (a_t / a_s) x_s + noise, so that noise fades with the image: kappa = (a_t / a_s) sigma_s^2 /
//                  sigma_t^2, for C_t = a(t) I alone. DDPM: Ho, Jain, Abbeel (arXiv 2006.11239), equations 6 and 7
//
//   [sampler]
//   type = "ancestral"
//   posterior = "accumulating"   # or "markov": what networks of DDPM were trained for

#include <limits>
#include <string>

#include "plugins/samplers/step.hpp"

namespace {

enum class Posterior { accumulating, markov };

// 1 at first, then the sum of a constant and of a pattern without period: C only scales images where it scales this
// one.
template <class T>
void fill_probe(sdp::Batch<T> probe) {
  for (int64_t b = 0; b < probe.size(); ++b) {
    for (int64_t i = 0; i < probe.stride(); ++i) {
      const double place = static_cast<double>(i);
      probe[b][i] = static_cast<T>(i == 0 ? 1 : 0.5 + 0.5 * std::sin(place * place));
    }
  }
}

// The a of C_t = a I, for every sample of a batch like *like; NaN where C_t is something else.
double share_at(const sdp::Call& call, const sdp::Path& path, double t, const sdp_tensor* like) {
  sdp_tensor in_host_memory = *like;
  in_host_memory.device_type = SDP_DEVICE_CPU;
  in_host_memory.device_id = 0;
  sdp_tensor *probe = call.scratch(&in_host_memory), *seen = call.scratch(&in_host_memory);
  double share = 0;
  sdp::dispatch(*like, [&](auto zero) {
    using T = decltype(zero);
    const T *x = static_cast<const T*>(probe->data), *y = static_cast<const T*>(seen->data);
    fill_probe(sdp::Batch<T>(probe));
    path.corrupt(t, probe, seen);
    share = static_cast<double>(y[0]);
    for (int64_t i = 0; i < sdp::numel(*seen); ++i) {
      if (!(std::abs(y[i] - share * x[i]) <= 100 * std::numeric_limits<T>::epsilon())) share = std::nan("");
    }
  });
  return share;
}

struct Ancestral {
  Posterior posterior = Posterior::accumulating;

  void step(sdp::Call& call, const sdp::Path& path, uint32_t k, sdp_tensor* x) const {
    const sdpipe::Step n(path, k);
    if (posterior == Posterior::accumulating) return draw(call, path, n, n.ratio(), n.ratio() * n.removed(), x);
    // Above 1 no chain leads from x_s to x_t: its image would have to come back.
    const double share = std::clamp(n.ratio() * faded(call, path, n, x), -1.0, 1.0);
    draw(call, path, n, share, n.sigma_s * std::sqrt((1 - share) * (1 + share)), x);
  }

 private:
  // a_t / a_s: 1 where both are equal, 0 included.
  static double faded(const sdp::Call& call, const sdp::Path& path, const sdpipe::Step& n, const sdp_tensor* x) {
    const double a_t = share_at(call, path, n.t, x), a_s = share_at(call, path, n.s, x);
    if (std::isnan(a_t) || std::isnan(a_s)) {
      call.fail(
          "posterior = \"markov\" needs a corruption that only scales images, as \"scale\" does, but that of this "
          "run does more between t = " +
              std::to_string(n.s) + " and " + std::to_string(n.t) + "; use posterior = \"accumulating\"",
          "posterior");
    }
    return a_t == a_s ? 1.0 : a_t / a_s;
  }

  // kappa = (sigma_s / sigma_t) share, and the standard deviation of the noise.
  static void draw(const sdp::Call& call, const sdp::Path& path, const sdpipe::Step& n, double share, double noise,
                   sdp_tensor* x) {
    const sdp_tensor* x0_hat = sdpipe::denoise(call, path, n.t, x);
    sdpipe::advance(call, path, n, x0_hat, n.ratio() * share, x);
    sdpipe::add_noise(call, noise, x);
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::sampler<Ancestral>("ancestral", "1.0.0", "Draws from the exact posterior")
               .choice("posterior", &Ancestral::posterior, {"accumulating", "markov"},
                       "How noise came into x_t: it only adds up, or fades with the image as DDPM's does, "
                       "for the corruption scale alone")
               .devices(SDP_ON_CUDA))
