// Samplers that each break one law, and one that keeps them all: x_s = C_s x0_hat.
#include <cmath>
#include <limits>

#include "core/abi/plugin.hpp"

namespace {

enum class Fault { none, misses_the_image, swallows_errors, not_repeatable };

template <Fault fault>
struct Jump {
  void step(sdp::Call& call, const sdp::Path& path, uint32_t k, sdp_tensor* x) const {
    static int calls = 0;
    sdp_tensor* x0_hat = call.scratch(x);
    try {
      path.denoise(path.time(k), x, x0_hat);
    } catch (const sdp::PassedOn&) {
      if (fault == Fault::swallows_errors) return;
      throw;
    }
    path.corrupt(path.time(k - 1), x0_hat, x);
    if (fault == Fault::misses_the_image) call.lincomb(x, {1.001}, {x});
    if (fault == Fault::not_repeatable) {
      double& first = *static_cast<double*>(x->data);
      if (++calls % 2) first = std::nextafter(first, std::numeric_limits<double>::infinity());
    }
  }
};

template <Fault fault>
sdp::Description<Jump<fault>> jump(const char* id) {
  return sdp::sampler<Jump<fault>>(id, "1.0.0", "A test's");
}

}  // namespace

SDP_PLUGIN("Apache-2.0", jump<Fault::none>("sound"), jump<Fault::misses_the_image>("misses_the_image"),
           jump<Fault::swallows_errors>("swallows_errors"), jump<Fault::not_repeatable>("not_repeatable"))
