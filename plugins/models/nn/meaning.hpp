// Between the host's conventions and a network's: what it is told of the path, the range of its images, and what its
// output y means. In the network's range, with a = 1 (process "ve") or a = sqrt(1 - sigma^2), at least 0.005 (process
// "vp"):
//
//   residual   x0_hat = x + y
//   score      x0_hat = (x + sigma^2 y) / a      Tweedie's formula
//   epsilon    x0_hat = (x - sigma y) / a
//   clean      x0_hat = y
#pragma once

#include "core/abi/torch.hpp"

namespace sdpipe::nn {

enum class Condition { t, sigma, level };
enum class Range { signed_range, unit };
enum class Output { residual, score, epsilon, clean };
enum class Process { ve, vp };

// Base of a network's settings; `described` lists them in its schema.
struct Meaning {
  Condition condition = Condition::t;
  double condition_scale = 999;
  Range range = Range::signed_range;
  Output output = Output::residual;
  Process process = Process::ve;

  // Refuses what cannot be converted.
  void check_meaning(const sdp::Call& call) const;
};

// x and sigma where the network's images lie in [0, 1] (range "unit") and the host's in [-1, 1]; else unchanged.
struct Seen {
  at::Tensor x;      // (batch, channel, height, width)
  at::Tensor sigma;  // (batch), float64
};
Seen seen_by_network(const Meaning& m, const sdp::Pass& pass, const at::Tensor& x);

// condition_scale times t or level, or sigma itself (in the network's range): (batch), float64.
at::Tensor condition_of(const Meaning& m, const sdp::Pass& pass, const at::Tensor& sigma);

// x0_hat - x in the host's range.
at::Tensor residual_of(const Meaning& m, const sdp::Pass& pass, const Seen& seen, const at::Tensor& y);

template <class Settings>
sdp::Description<Settings> described(sdp::Description<Settings> d) {
  const auto member = []<class T>(T Meaning::*m) { return static_cast<T Settings::*>(m); };
  d.choice("condition", member(&Meaning::condition), {"t", "sigma", "level"}, "what the network is told of the path")
      .real("condition_scale", member(&Meaning::condition_scale), sdp::above(0), "",
            "factor on t or level: 999 for the t of networks trained on 1000 steps; sigma is told as it is")
      .choice("range", member(&Meaning::range), {"signed", "unit"},
              "of the network's images: [-1, 1], or [0, 1] (x, sigma and the estimate are converted)")
      .choice("output", member(&Meaning::output), {"residual", "score", "epsilon", "clean"},
              "what the network's output is: x0_hat - x, the score, the noise, or x0_hat")
      .choice("process", member(&Meaning::process), {"ve", "vp"},
              "with score and epsilon: is x = x0 + sigma eps, or sqrt(1 - sigma^2) x0 + sigma eps?");
  return d;
}

}  // namespace sdpipe::nn
