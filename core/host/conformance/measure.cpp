#include "core/host/conformance/measure.hpp"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>

#include <cmath>

namespace sdpipe {

using namespace conformance;

std::vector<LawResult> check_laws(const Plugin& plugin, const Settings& settings, const SampleShape& shape,
                                  at::Device device) {
  try {
    switch (plugin.kind()) {
      case SDP_KIND_CORRUPTION:
        return check_corruption(plugin, settings, shape, device);
      case SDP_KIND_SCHEDULE:
        return check_schedule(plugin, settings, shape);
      case SDP_KIND_MODEL:
        return check_model(plugin, settings, shape, device);
      default:
        return check_sampler(plugin, settings, shape, device);
    }
  } catch (const std::exception& e) {
    return {{fmt::format("{}.create", kind_name(plugin.kind())), false, e.what()}};
  }
}

namespace conformance {

at::Tensor random_batch(int64_t batch, const SampleShape& shape, at::ScalarType dtype, uint32_t draw) {
  std::vector<int64_t> sizes = {batch};
  sizes.insert(sizes.end(), shape.begin(), shape.end());
  at::Tensor x = at::empty(sizes, at::TensorOptions(dtype));
  std::vector<uint64_t> samples(static_cast<size_t>(batch));
  for (size_t b = 0; b < samples.size(); ++b) samples[b] = b;
  RandomScope scope;
  scope.sample = samples;
  scope.fill(SDP_NORMAL, draw, x);
  return x;
}

Points mixed_points(size_t batch, double level_max) {
  constexpr double shares[] = {0, 1e-6, 0.5, 1, 0.03, 0.27, 0.8};
  Points at;
  for (size_t b = 0; b < batch; ++b) {
    const double share = shares[b % std::size(shares)];
    at.t.push_back(share);
    at.level.push_back(share * level_max);
    at.sigma.push_back(0.01 + 0.1 * share);
    at.key.push_back(random_bits({1234, Purpose::key, b}));
  }
  return at;
}

Points row(const Points& at, size_t b) { return {{at.t[b]}, {at.level[b]}, {at.sigma[b]}, {at.key[b]}}; }

double dot(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) * b.to(at::kDouble)).sum().item<double>();
}
double norm(const at::Tensor& a) { return std::sqrt(dot(a, a)); }

double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  const double scale = b.abs().max().item<double>();
  const double difference = (a - b).abs().max().item<double>();
  return scale > 0 ? difference / scale : difference;
}

double largest(std::initializer_list<double> figures) {
  double worst = 0;
  for (const double figure : figures) {
    if (std::isnan(figure) || figure > worst) worst = figure;
    if (std::isnan(worst)) break;
  }
  return worst;
}

LawResult bounded(std::string id, double bound, const std::function<double()>& measure) {
  try {
    const double figure = measure();
    return {std::move(id), figure <= bound, fmt::format("{:.3g}, at most {:.0e}", figure, bound)};
  } catch (const std::exception& e) {
    return {std::move(id), false, e.what()};
  }
}

LawResult stated(std::string id, const std::function<std::string()>& complaint) {
  try {
    std::string why = complaint();
    return {std::move(id), why.empty(), why.empty() ? "as it should be" : std::move(why)};
  } catch (const std::exception& e) {
    return {std::move(id), false, e.what()};
  }
}

at::Tensor ScaledIdentity::apply(const Points& at, const at::Tensor& x) const {
  std::vector<double> scale;
  for (const double level : at.level) scale.push_back(1 - level / 2);
  const at::Tensor factors = at::from_blob(scale.data(), {static_cast<int64_t>(scale.size())}, at::kDouble).clone();
  std::vector<int64_t> shape(static_cast<size_t>(x.dim()), 1);
  shape[0] = x.size(0);
  return x * factors.to(x.options()).view(shape);
}

at::Tensor NoiseCalibration::corrupt(uint32_t k, double level) const {
  const at::Tensor x = batch(k);
  const size_t n = static_cast<size_t>(x.size(0));
  return corruption_.apply({std::vector<double>(n, level), std::vector<double>(n, level), std::vector<double>(n, 0.0),
                            std::vector<uint64_t>(n, 0)},
                           x);
}

}  // namespace conformance
}  // namespace sdpipe
