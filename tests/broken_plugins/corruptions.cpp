// Corruptions that each break one law, and one that keeps them all: x[i] + level * c * x[i - 1] around a circle.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/abi/plugin.hpp"

namespace {

enum class Fault {
  none,
  wrong_adjoint,
  not_linear,
  not_identity_at_zero,
  batch_dependent,
  writes_input,
  not_repeatable,
  not_finite,
  throws,
  no_create
};

// One unit in the last place: far below every bound, but other bits.
template <class T>
T nudged(T value) {
  return std::nextafter(value, std::numeric_limits<T>::infinity());
}

template <Fault fault>
struct Circle {
  double strength = 0.5;
  double level_max() const { return 2; }

  void prepare(sdp::Call& call, const sdp::Shape&) const {
    if (fault == Fault::no_create) call.fail("cannot be made with this strength", "strength");
  }

  template <class T>
  void apply(sdp::Call& call, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    if (fault == Fault::throws) call.fail("never works", "strength");
    shift(at, x, y, 1);
  }
  template <class T>
  void adjoint(sdp::Call&, const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y) const {
    shift(at, x, y, fault == Fault::wrong_adjoint ? 1 : -1);
  }

  template <class T>
  void shift(const sdp::Point& at, sdp::Batch<const T> x, sdp::Batch<T> y, int64_t by) const {
    const int64_t n = x.stride();
    for (int64_t b = 0; b < x.size(); ++b) {
      const T c = static_cast<T>(strength * at.level[b]);
      for (int64_t i = 0; i < n; ++i) y[b][i] = x[b][i] + c * x[b][(i + n - by) % n];
      spoil(at.level[b], x, x[b], y[b]);
    }
    if (fault == Fault::writes_input) const_cast<T&>(x.data()[0]) = nudged(x.data()[0]);
  }

  template <class T>
  void spoil(double level, sdp::Batch<const T> batch, const T* x, T* y) const {
    static int calls = 0;
    const int64_t n = batch.stride();
    if (fault == Fault::not_linear) y[0] += static_cast<T>(level) * std::abs(x[0]);
    if (fault == Fault::not_identity_at_zero) std::transform(y, y + n, y, [](T v) { return v / 2; });
    if (fault == Fault::batch_dependent)
      std::transform(y, y + n, y, [&](T v) { return v * static_cast<T>(batch.size()); });
    if (fault == Fault::batch_dependent && level == 0) std::copy_n(x, n, y);
    if (fault == Fault::not_repeatable && ++calls % 2) y[0] = nudged(y[0]);
    if (fault == Fault::not_finite && level > 0) y[0] = std::numeric_limits<T>::quiet_NaN();
  }
};

template <Fault fault>
sdp::Description<Circle<fault>> circle(const char* id) {
  auto d = sdp::corruption<Circle<fault>>(id, "1.0.0", "A test's");
  d.real("strength", &Circle<fault>::strength, sdp::above(0), "", "Of the neighbour");
  return d;
}

}  // namespace

SDP_PLUGIN("Apache-2.0", circle<Fault::none>("sound"), circle<Fault::wrong_adjoint>("wrong_adjoint"),
           circle<Fault::not_linear>("not_linear"), circle<Fault::not_identity_at_zero>("not_identity_at_zero"),
           circle<Fault::batch_dependent>("batch_dependent"), circle<Fault::writes_input>("writes_input"),
           circle<Fault::not_repeatable>("not_repeatable"), circle<Fault::not_finite>("not_finite"),
           circle<Fault::throws>("throws"), circle<Fault::no_create>("no_create"))
