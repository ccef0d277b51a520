// heat_blur. tests/plugins/heat_blur_test.cpp holds the CPU to published values and laws.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "core/host/operators.hpp"
#include "tests/kernels/devices.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

struct Size {
  int64_t channels, height, width;
};

std::unique_ptr<Corruption> heat_blur(const Size& size) {
  static const std::vector<Plugin> library = load_library(SDPIPE_BUILD_DIR "/plugins/heat_blur.sdp.so");
  const Plugin& plugin = library.front();
  return make_plugin_corruption(plugin, default_settings(plugin.schema), {size.channels, size.height, size.width});
}

Points at_levels(const std::vector<double>& level) {
  Points p;
  p.level = level;
  p.t.assign(level.size(), 0.5);
  p.sigma.assign(level.size(), 0);
  p.key.assign(level.size(), 1);
  return p;
}

// The eigenvector (i, j) of the blur, (height, width), in float64.
at::Tensor mode(int64_t i, int64_t j, const Size& size) {
  const auto wave = [](int64_t k, int64_t n) {
    at::Tensor values = at::zeros({n}, at::kDouble);
    for (int64_t a = 0; a < n; ++a)
      values.data_ptr<double>()[a] =
          std::cos(M_PI * static_cast<double>(k) * (static_cast<double>(a) + 0.5) / static_cast<double>(n));
    return values;
  };
  return wave(i, size.height).unsqueeze(1) * wave(j, size.width).unsqueeze(0);
}

double eigenvalue(int64_t i, int64_t j, const Size& size, double level) {
  const double u = M_PI * static_cast<double>(i) / static_cast<double>(size.height);
  const double v = M_PI * static_cast<double>(j) / static_cast<double>(size.width);
  return std::exp(-0.5 * level * level * (u * u + v * v));
}

// Sums of a few modes, other weights in every plane, and what the blur makes of them.
struct Waves {
  at::Tensor x, y;  // (sample, channel, height, width), float64
};

Waves waves(const Size& size, const std::vector<double>& level) {
  const int64_t samples = static_cast<int64_t>(level.size());
  Waves w{at::zeros({samples, size.channels, size.height, size.width}, at::kDouble), {}};
  w.y = w.x.clone();
  for (int64_t b = 0; b < samples; ++b) {
    for (int64_t c = 0; c < size.channels; ++c) {
      for (int64_t m = 0; m < 4; ++m) {
        const int64_t i = m * m % size.height, j = (m + b + c) % size.width;
        const at::Tensor x = mode(i, j, size) * (1.0 + 0.1 * static_cast<double>(b + 2 * c + 3 * m));
        w.x[b][c] += x;
        w.y[b][c] += x * eigenvalue(i, j, size, level[static_cast<size_t>(b)]);
      }
    }
  }
  return w;
}

// Around the sizes of a tile and of shared memory (the last two exceed it, in float64 the last three).
const std::vector<Size> sizes = {{1, 1, 1},   {2, 1, 7},   {3, 6, 1},   {1, 5, 3},     {3, 16, 16},   {1, 17, 15},
                                 {2, 33, 20}, {3, 64, 64}, {1, 28, 28}, {1, 100, 140}, {2, 150, 200}, {1, 1, 1000}};

double worst(const at::Tensor& y, const at::Tensor& exact) { return (on_cpu(y) - exact).abs().max().item<double>(); }

}  // namespace

TEST_CASE("heat_blur damps every mode by its own factor on every device, at sizes around those of its kernels") {
  const std::vector<double> level = {0.05, 0, 0.7, 4, 23};
  for (const at::Device device : devices()) {
    for (const Size& size : sizes) {
      const Waves w = waves(size, level);
      for (const auto& [dtype, tolerance] : {std::pair(at::kDouble, 1e-12), {at::kFloat, 2e-5}}) {
        CAPTURE(device.str(), size.channels, size.height, size.width, dtype);
        const auto blur = heat_blur(size);
        const at::Tensor x = w.x.to(on(device, dtype));
        CHECK(worst(blur->apply(at_levels(level), x), w.y) < tolerance);
        CHECK(worst(blur->adjoint(at_levels(level), x), w.y) < tolerance);
      }
    }
  }
}

TEST_CASE("heat_blur at level 0 returns the same bits on every device") {
  for (const at::Device device : devices()) {
    for (const Size& size : {Size{3, 8, 8}, Size{1, 300, 250}}) {
      const at::Tensor x = at::randn({2, size.channels, size.height, size.width}, on(device, at::kFloat));
      CHECK(heat_blur(size)->apply(at_levels({0, 0}), x).equal(x));
    }
  }
}

TEST_CASE("heat_blur serves batches of more levels than one launch takes, each sample as if alone, on every device") {
  const Size size = {1, 4, 4};
  std::vector<double> level;
  for (int b = 0; b < 600; ++b) level.push_back(0.01 * (b % 200) + 0.01);
  for (const at::Device device : devices()) {
    const at::Tensor x = at::randn({600, 1, 4, 4}, on(device, at::kFloat));
    const at::Tensor y = heat_blur(size)->apply(at_levels(level), x);
    for (const int64_t b : {0, 199, 255, 256, 511, 512, 599}) {
      const at::Tensor alone = heat_blur(size)->apply(at_levels({level[static_cast<size_t>(b)]}), x.narrow(0, b, 1));
      CHECK(y.narrow(0, b, 1).equal(alone));
    }
  }
}
