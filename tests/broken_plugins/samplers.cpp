// Samplers that each break one law, and one that keeps them all: x_s = C_s x0_hat.
#include <limits>

#include "core/abi/plugin.hpp"

namespace {

enum class Fault {
  none,
  misses_the_image,
  swallows_errors,
  swallows_corruption_errors,
  asks_again,
  batch_dependent,
  not_repeatable
};

template <Fault fault>
struct Jump {
  void step(sdp::Call& call, const sdp::Path& path, uint32_t k, sdp_tensor* x) const {
    static int calls = 0;
    sdp_tensor* x0_hat = call.scratch(x);
    try {
      path.denoise(path.time(k), x, x0_hat);
    } catch (const sdp::PassedOn&) {
      if (fault == Fault::swallows_errors) return;
      if (fault != Fault::asks_again) throw;
      path.denoise(path.time(k), x, x0_hat);
    }
    try {
      path.corrupt(path.time(k - 1), x0_hat, x);
    } catch (const sdp::PassedOn&) {
      if (fault != Fault::swallows_corruption_errors) throw;
    }
    if (fault == Fault::batch_dependent && path.time(k - 1) > 0) {
      call.lincomb(x, {1 + 0.01 * static_cast<double>(x->shape[0])}, {x});
    }
    if (fault == Fault::misses_the_image) call.lincomb(x, {1.001}, {x});
    if (fault == Fault::not_repeatable) {
      double& first = *static_cast<double*>(x->data);
      first *= 1 + ++calls * std::numeric_limits<double>::epsilon();
    }
  }
};

template <Fault fault>
sdp::Description<Jump<fault>> jump(const char* id) {
  return sdp::sampler<Jump<fault>>(id, "1.0.0", "A test's");
}

}  // namespace

SDP_PLUGIN("Apache-2.0", jump<Fault::none>("sound"), jump<Fault::misses_the_image>("misses_the_image"),
           jump<Fault::swallows_errors>("swallows_errors"),
           jump<Fault::swallows_corruption_errors>("swallows_corruption_errors"), jump<Fault::asks_again>("asks_again"),
           jump<Fault::batch_dependent>("batch_dependent"), jump<Fault::not_repeatable>("not_repeatable"))
