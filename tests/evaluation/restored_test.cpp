// The rows that a restoration is compared with: pictures of blocks, enlarged.
#include "core/evaluation/restored.hpp"

#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <array>
#include <cmath>

#include "tests/diffusion/setup.hpp"

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

// Keys, "Cubic convolution interpolation for digital image processing" (1981), equation 15.
double keys(double x) {
  const double s = std::abs(x);
  if (s < 1) return 1.5 * s * s * s - 2.5 * s * s + 1;
  return s < 2 ? -0.5 * s * s * s + 2.5 * s * s - 4 * s + 2 : 0;
}

// Row p: the weights of `count` block means at pixel p; their centres are at (block + 1/2) side - 1/2. Beyond the edge
// there is nothing, and the other weights grow.
at::Tensor weights(int64_t size, int64_t side) {
  const int64_t count = (size + side - 1) / side;
  at::Tensor w = at::full({size, count}, 0.0, at::kDouble);
  for (int64_t p = 0; p < size; ++p) {
    for (int64_t b = 0; b < count; ++b)
      w[p][b] = keys((static_cast<double>(p) + 0.5) / static_cast<double>(side) - static_cast<double>(b) - 0.5);
  }
  return w / w.sum(1, true);
}

at::Tensor block_means(const at::Tensor& y, int64_t side) {
  const int64_t rows = (y.size(-2) + side - 1) / side, columns = (y.size(-1) + side - 1) / side;
  at::Tensor means = at::full({y.size(0), y.size(1), rows, columns}, 0.0, at::kDouble);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      const at::Tensor block = y.slice(-2, i * side, (i + 1) * side).slice(-1, j * side, (j + 1) * side);
      means.select(-2, i).select(-1, j).copy_(block.mean({2, 3}));
    }
  }
  return means;
}

std::optional<int64_t> side_under(const std::string& tables, double level) {
  Text text;
  text.corruption = tables;
  const Pipeline pipeline = parse(text.whole());
  Observation seen;
  seen.corruption = make_corruption(pipeline, {1, 8, 8});
  seen.level = level;
  seen.y = at::zeros({2, 1, 8, 8}, at::kFloat);
  return side_of_blocks(seen);
}

}  // namespace

TEST_CASE("means of blocks are enlarged by the cubic filter with a = -1/2, whole blocks and cut ones") {
  for (const auto& [height, width, side] :
       std::vector<std::array<int64_t, 3>>{{8, 8, 2}, {12, 8, 4}, {9, 7, 3}, {7, 10, 4}, {5, 5, 5}}) {
    INFO(height << " x " << width << " by " << side);
    const at::Tensor y = noise({2, 3, height, width}, 1);
    const at::Tensor expected =
        at::matmul(at::matmul(weights(height, side), block_means(y, side)), weights(width, side).t());
    CHECK(largest_difference(enlarged_blocks(y, side), expected) < 1e-6);
    CHECK(largest_difference(enlarged_blocks(y.to(at::kFloat), side), expected) < 1e-5);
  }
}

TEST_CASE("a block larger than the image is the image") {
  const at::Tensor y = noise({2, 1, 6, 5}, 2), mean = y.mean({2, 3}, true).expand_as(y);
  for (const int64_t side : {6, 7, 4096}) CHECK(largest_difference(enlarged_blocks(y, side), mean) < 1e-12);
}

TEST_CASE("only what downsample alone leaves at its largest level is enlarged") {
  const std::string by_two = "type = \"downsample\"\nfactor = 2\n";
  CHECK(side_under("[corruption]\n" + by_two, 1) == 2);
  CHECK(side_under("[corruption]\ntype = \"downsample\"\n", 1) == 4);
  CHECK(side_under("[corruption]\ntype = \"downsample\"\nfactor = 3\n", 1) == 3);  // with cut blocks
  CHECK(!side_under("[corruption]\n" + by_two, 0.999).has_value());
  CHECK(!side_under("[corruption]\ntype = \"fade\"\n", 1).has_value());
  CHECK(!side_under("[corruption]\ntype = \"identity\"\n", 1).has_value());
  CHECK(!side_under("[corruption]\ntype = \"heat_blur\"\nstd_max = 1.0\n", 1).has_value());
  CHECK(!side_under("[[corruption]]\n" + by_two + "[[corruption]]\ntype = \"heat_blur\"\n", 1).has_value());
}
