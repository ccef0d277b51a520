// Schedules that each break one law, and one that keeps them all: level = L t, sigma = t.
#include <cstdint>

#include "core/abi/plugin.hpp"

namespace {

enum class Fault { none, falls, wrong_end, wrong_start, negative_sigma, fails_for_two, not_repeatable, fills_nothing };

constexpr uint32_t whole = 1025, odd_one = 257;  // lengths at which the law of its name looks

template <Fault fault>
struct Line {
  void select(sdp::Call&, const sdp::Calibration& data, uint32_t n, double* level, double* sigma) const {
    static int calls = 0;
    const double last = n - 1;
    for (uint32_t i = 0; i < n; ++i) {
      level[i] = data.level_max() * i / last;
      sigma[i] = i / last;
    }
    if (fault == Fault::falls && n == whole) level[512] = 0.1;
    if (fault == Fault::wrong_end && n == whole) level[n - 1] *= 1.0001;
    if (fault == Fault::wrong_start && n == whole) level[0] = 1e-4;
    if (fault == Fault::negative_sigma && n == whole) sigma[0] = -1;
    if (fault == Fault::fails_for_two && n == 2) level[1] = 0;
    if (fault == Fault::not_repeatable && n == odd_one && ++calls % 2) sigma[1] *= 1.001;
  }
};

template <Fault fault>
sdp::Description<Line<fault>> line(const char* id, uint32_t fills = SDP_CAP_FILLS_LEVEL | SDP_CAP_FILLS_SIGMA) {
  auto d = sdp::schedule<Line<fault>>(id, "1.0.0", "A test's");
  d.caps(fills);
  return d;
}

}  // namespace

SDP_PLUGIN("Apache-2.0", line<Fault::none>("sound"), line<Fault::falls>("falls"), line<Fault::wrong_end>("wrong_end"),
           line<Fault::wrong_start>("wrong_start"), line<Fault::negative_sigma>("negative_sigma"),
           line<Fault::fails_for_two>("fails_for_two"), line<Fault::not_repeatable>("not_repeatable"),
           line<Fault::fills_nothing>("fills_nothing", 0))
