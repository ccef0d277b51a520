#include <algorithm>

#include "core/base/random.hpp"
#include "core/host/operators.hpp"

namespace sdpipe {

namespace {

// C(u, key) = C_n(u_n, key_n) ... C_1(u_1, key_1), u in [0, 1].
class Composition : public Corruption {
 public:
  Composition(std::span<const CorruptionPart> parts, const SampleShape& sample) {
    for (const CorruptionPart& p : parts)
      parts_.push_back({make_plugin_corruption(*p.plugin, *p.settings, sample), p.from, p.to});
  }
  double level_max() const override { return 1; }
  std::string level_unit() const override { return ""; }

  at::Tensor apply(const Points& at, const at::Tensor& x) const override {
    at::Tensor y = x;
    for (size_t i = 0; i < parts_.size(); ++i) y = parts_[i].corruption->apply(share(at, i), y);
    return y;
  }
  // (C_n ... C_1)^T = C_1^T ... C_n^T
  at::Tensor adjoint(const Points& at, const at::Tensor& x) const override {
    at::Tensor y = x;
    for (size_t i = parts_.size(); i-- > 0;) y = parts_[i].corruption->adjoint(share(at, i), y);
    return y;
  }

 private:
  struct Part {
    std::unique_ptr<Corruption> corruption;
    double from, to;
  };

  Points share(const Points& at, size_t i) const {
    const Part& part = parts_[i];
    Points own = at;
    for (size_t b = 0; b < at.size(); ++b) {
      const double within = std::clamp((at.level[b] - part.from) / (part.to - part.from), 0.0, 1.0);
      own.level[b] = within * part.corruption->level_max();
      own.key[b] = random_bits({at.key[b], Purpose::key, i});
    }
    return own;
  }

  std::vector<Part> parts_;
};

}  // namespace

std::unique_ptr<Corruption> make_corruption(std::span<const CorruptionPart> parts, const SampleShape& sample) {
  if (parts.size() == 1) return make_plugin_corruption(*parts[0].plugin, *parts[0].settings, sample);
  return std::make_unique<Composition>(parts, sample);
}

}  // namespace sdpipe
