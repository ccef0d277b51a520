// identity: C(level) = I, so that the path is additive noise alone, x_t = x_0 + sigma_t eps.
// With a geometric noise schedule this is the variance-exploding diffusion of Song et al.
// (arXiv 2011.13456).

#include <algorithm>

#include "core/abi/plugin.hpp"

namespace {

struct Identity {
  double level_max() const { return 1.0; }

  template <class T>
  void apply(sdp::Call&, const sdp::Point&, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    std::copy_n(x.data(), x.size() * x.stride(), y.data());
  }

  template <class T>
  void adjoint(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    apply(call, at, x, y);  // I^T = I
  }
};

}  // namespace

SDP_PLUGIN("Apache-2.0", sdp::corruption<Identity>("identity", "1.0.0", "No corruption: additive noise alone"))
