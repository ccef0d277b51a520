// A pipeline from its text, and what the diffusion code makes of it, with images that a test makes up.
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "core/diffusion/assembly.hpp"
#include "tests/message_of.hpp"
#include "tests/plugins/support.hpp"

// Behind LibTorch's headers, one of which defines a CHECK of its own.
#include "tests/catch.h"

namespace sdpipe::testing {

inline const Registry& built_in() {
  static const Registry registry(PluginSearch{{}, {SDPIPE_BUILD_DIR "/plugins"}});
  return registry;
}

inline Pipeline parse(const std::string& toml) { return parse_pipeline(toml, "/pipelines/test.toml", {}, built_in()); }

// The tables named, and for the others what is simple: noise from 0.01 to 0.5 all along the path, a fitted model.
struct Text {
  std::string corruption = "[corruption]\ntype = \"heat_blur\"\nstd_max = 2.0\n";
  std::string noise = "[noise]\ntype = \"geometric\"\nsigma_min = 0.01\nsigma_max = 0.5\nsaturation = 1.0\n";
  std::string model = "[model]\ntype = \"wiener\"\nsource = \"power_law\"\n";
  std::string sampler = "[sampler]\ntype = \"ddim\"\n";
  std::string sample = "[sample]\nsteps = 5\n";

  std::string whole() const {
    return "[run]\nprecision = \"float64\"\n[data]\ntype = \"idx\"\npath = \"none\"\n" + corruption +
           "[schedule]\ntype = \"linear\"\n" + noise + model + sampler + sample;
  }
};

struct Setup {
  explicit Setup(const Text& text, const SampleShape& shape = {1, 4, 4})
      : pipeline(parse(text.whole())),
        corruption(make_corruption(pipeline, shape)),
        process(corruption, select_path(pipeline, TestData(corruption->level_max()))) {}

  Pipeline pipeline;
  std::shared_ptr<const Corruption> corruption;
  Process process;
};

// Images in memory.
class MemorySource : public Source {
 public:
  // x (n, channel, height, width) in [-1, 1], rounded to bytes.
  explicit MemorySource(const at::Tensor& x) : shape_{x.size(1), x.size(2), x.size(3)} {
    const std::vector<double> values = numbers(x);
    for (const double v : values) bytes_.push_back(static_cast<uint8_t>(std::clamp((v + 1) * 127.5 + 0.5, 0.0, 255.0)));
  }
  int64_t size() const override { return static_cast<int64_t>(bytes_.size()) / shape_.elements(); }
  ImageShape shape() const override { return shape_; }
  ByteImage read(int64_t i) const override {
    const auto first = bytes_.begin() + i * shape_.elements();
    return {shape_, {first, first + shape_.elements()}};
  }
  std::string name_of(int64_t i) const override { return fmt::format("image {}", i); }
  std::string describe() const override { return "made by a test"; }
  std::string content_hash() const override { return "none"; }

 private:
  ImageShape shape_;
  std::vector<uint8_t> bytes_;
};

inline bool bit_equal(const at::Tensor& a, const at::Tensor& b) { return numbers(a) == numbers(b); }

}  // namespace sdpipe::testing
