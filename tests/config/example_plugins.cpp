// Plugins whose schemas stay as they are, so that messages can be compared whole. None of them computes anything.

#include "core/abi/plugin.hpp"

namespace {

// Every type of parameter; float32 alone.
struct Stamp {
  int64_t times = 1;
  bool wrap = false;
  double strength = 0.5;
  std::string label = "a \"b\"";
  enum class Mode { add, replace } mode = Mode::add;
  std::vector<double> weights = {0.25, 1};
  std::vector<int64_t> offsets = {};
  sdp::Image mask;

  double level_max() const { return 1; }
  void apply(sdp::Call&, const sdp::Point&, sdp::Batch<const float>, sdp::Batch<float>) const {}
  void adjoint(sdp::Call&, const sdp::Point&, sdp::Batch<const float>, sdp::Batch<float>) const {}
};

struct Blur {
  double std_max = 23;
  double level_max() const { return std_max; }
  template <class T>
  void apply(sdp::Call&, const sdp::Point&, sdp::Batch<const T>, sdp::Batch<T>) const {}
  template <class T>
  void adjoint(sdp::Call&, const sdp::Point&, sdp::Batch<const T>, sdp::Batch<T>) const {}
};

struct Path {
  double power = 1;
  void select(sdp::Call&, const sdp::Calibration&, uint32_t, double*, double*) const {}
};
struct Levels : Path {};
struct Sigmas : Path {};
struct Coupled : Path {};

struct Net {
  int64_t channels = 32;
  std::vector<sdp::ModelParam> params() const { return {}; }
  void init(sdp::Call&, const std::vector<sdp_tensor*>&) const {}
  void* forward(sdp::Call&, const sdp_params&, const sdp::Point&, const sdp_tensor*, sdp_tensor*, uint32_t) const {
    return nullptr;
  }
  void vjp(sdp::Call&, const sdp_params&, const sdp::Point&, const sdp_tensor*, void*, const sdp_tensor*, sdp_tensor*,
           sdp_tensor* const*, uint32_t) const {}
  void release(void*) const noexcept {}
};
struct Oracle : Net {
  void fit(sdp::Call&, const sdp::Calibration&, const std::vector<sdp_tensor*>&) const {}
};

struct Traced : Net {
  std::string file;
};

struct Step {
  double eta = 0;
  int64_t order = 1;
  void step(sdp::Call&, const sdp::Path&, uint32_t, sdp_tensor*) const {}
};
struct OtherStep {
  double churn = 0;
  void step(sdp::Call&, const sdp::Path&, uint32_t, sdp_tensor*) const {}
};

}  // namespace

SDP_PLUGIN("Apache-2.0",
           sdp::corruption<Blur>("blur", "1.0.0", "s").real("std_max", &Blur::std_max, sdp::above(0), "px", "d"),
           sdp::corruption<Stamp>("stamp", "1.0.0", "s")
               .integer("times", &Stamp::times, sdp::between(1, 9), "", "d")
               .required()
               .flag("wrap", &Stamp::wrap, "d")
               .real("strength", &Stamp::strength, sdp::above_to(0, 1), "", "d")
               .string("label", &Stamp::label, "d")
               .choice("mode", &Stamp::mode, {"add", "replace"}, "d")
               .reals("weights", &Stamp::weights, sdp::between(0, 1), "", "d")
               .integers("offsets", &Stamp::offsets, sdp::at_least(0), "px", "d")
               .image("mask", &Stamp::mask, "d"),
           sdp::schedule<Levels>("levels", "1.0.0", "s").caps(SDP_CAP_FILLS_LEVEL),
           sdp::schedule<Sigmas>("sigmas", "1.0.0", "s").caps(SDP_CAP_FILLS_SIGMA),
           sdp::schedule<Coupled>("coupled", "1.0.0", "s").caps(SDP_CAP_FILLS_LEVEL | SDP_CAP_FILLS_SIGMA),
           sdp::model<Net>("net", "1.0.0", "s").integer("channels", &Net::channels, sdp::at_least(2), "", "d"),
           sdp::model<Oracle>("oracle", "1.0.0", "s"),
           sdp::model<Traced>("traced", "1.0.0", "s").file("file", &Traced::file, "d").example("file = \"net.pt\""),
           sdp::sampler<Step>("step", "1.0.0", "s")
               .real("eta", &Step::eta, sdp::between(0, 1), "", "d")
               .integer("order", &Step::order, sdp::at_least(1), "", "d"),
           sdp::sampler<OtherStep>("churned", "1.0.0", "s").real("churn", &OtherStep::churn, sdp::at_least(0), "", "d"))
