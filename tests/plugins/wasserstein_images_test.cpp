// What the wasserstein schedule does on real images.
#include <ATen/ops/cat.h>
#include <ATen/ops/cdist.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/diffusion/calibration.hpp"
#include "plugins/schedules/wasserstein/assignment.hpp"
#include "tests/plugins/support.hpp"

#include "tests/catch.h"  // last: LibTorch defines a CHECK of its own

using namespace sdpipe;
using namespace sdpipe::testing;

namespace {

constexpr const char* fashion_mnist = "/usr/share/datasets/fashion-mnist";

// Blurred garments.
class Garments {
 public:
  explicit Garments(int64_t count)
      : source_(open_source(fashion())),
        blur_(corruption("heat_blur", "std_max = 10.0", {1, 28, 28})),
        data_(*source_, *blur_, at::TensorOptions(at::kFloat), count, 256, 0) {}

  const DataCalibration& data() const { return data_; }

  // W2 between the sets of images at two levels, by the cheapest assignment.
  double exact(double a, double b) const {
    const at::Tensor x = data_.corrupt(0, a).to(at::kDouble).flatten(1),
                     y = data_.corrupt(0, b).to(at::kDouble).flatten(1);
    return std::sqrt(
        wasserstein::optimal_assignment(static_cast<size_t>(x.size(0)), numbers(at::cdist(x, y).square())));
  }
  // Between Gaussians of the same means and variances of the DCT coefficients.
  double gaussian(double a, double b) const {
    const at::Tensor x = coefficients(a), y = coefficients(b);
    const at::Tensor mean = x.mean(0) - y.mean(0), deviation = x.std(0, false) - y.std(0, false);
    return std::sqrt((mean.square() + deviation.square()).sum().item<double>());
  }

 private:
  static DataOptions fashion() {
    DataOptions options;
    options.type = "idx";
    options.path = fashion_mnist;
    return options;
  }
  at::Tensor coefficients(double level) const {
    std::vector<at::Tensor> all;
    for (uint32_t k = 0; k < data_.n_batches(); ++k) all.push_back(dct(data_.corrupt(k, level).to(at::kDouble)));
    return at::cat(all);
  }

  std::unique_ptr<Source> source_;
  std::unique_ptr<Corruption> blur_;
  DataCalibration data_;
};

// The largest step over the smallest, less 1, between nodes at equal steps of t.
template <class F>
double spread(const std::vector<double>& node, F&& distance) {
  std::vector<double> step;
  for (size_t k = 1; k < node.size(); ++k) step.push_back(distance(node[k - 1], node[k]));
  const auto [least, most] = std::minmax_element(step.begin(), step.end());
  return *most / *least - 1;
}

}  // namespace

TEST_CASE("On Fashion-MNIST, steps along equal_arc differ by at most a quarter; shortest_path's spread is printed") {
  if (!std::filesystem::exists(fashion_mnist)) {
    WARN("skipped: the package dataset-fashion-mnist is not installed");
    return;
  }
  for (const std::string rule : {"equal_arc", "shortest_path"}) {
    const std::string toml = "rule = \"" + rule + "\"\n";
    const Garments thousand(1000), hundred(100);
    const double by_gaussian = spread(levels("wasserstein", toml, thousand.data(), 32),
                                      [&](double a, double b) { return thousand.gaussian(a, b); });
    const double by_exact =
        spread(levels("wasserstein", toml + "estimator = \"exact\"\npoints = 100\ncandidates = 64\nnodes = 16",
                      hundred.data(), 16),
               [&](double a, double b) { return hundred.exact(a, b); });
    WARN(rule << ": the largest step is longer than the smallest by " << 100 * by_gaussian
              << " % (gaussian, 256 candidates, 32 nodes), " << 100 * by_exact
              << " % (exact, 100 images, 64 candidates, 16 nodes)");
    if (rule != "equal_arc") continue;
    CHECK(by_gaussian < 0.25);
    CHECK(by_exact < 0.25);
  }
}
